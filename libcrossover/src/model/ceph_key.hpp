/// \file
/// What kind of key a cephx user has. Nothing of a key itself comes from here. Pure.
#pragma once

#include <string>
#include <string_view>

namespace crossover {

/// The type of a key in base64, as Ceph names it: "aes", "aes256k" (from 19.2.6 and 20.2.4 on), or "of type N";
/// empty for what is no key. Source: Ceph's CryptoKey begins with its type, 16 bits in little endian.
std::string key_type(std::string_view key);

/// The type of the key that a keyring file has for "client.ID"; empty if it has none that can be read.
std::string key_type_in(std::string_view keyring, std::string_view entity);

/// What to say of a key that the Ceph of a host could not read; empty for a type that every release reads.
std::string unreadable_key(std::string_view type);

}  // namespace crossover
