/// \file
/// Public keys of each type, made by ssh-keygen for the tests alone; their private halves are gone.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace crossover::test {

struct KnownKey {
  std::string_view type;
  std::string_view base64;
  std::string_view fingerprint;  ///< as `ssh-keygen -l` printed it

  [[nodiscard]] std::string line() const { return std::string(type) + " " + std::string(base64); }
};

inline constexpr KnownKey ed25519_key{"ssh-ed25519",
                                      "AAAAC3NzaC1lZDI1NTE5AAAAIJ0LhAEc7+E/gf7nSqCcT5V/QtycVPrmli4zl0DE/Jlh",
                                      "SHA256:qKCOoWdB3Q7FfSW/E9jioj4SVeB+J/nFrHTJNrfAWIU"};
inline constexpr KnownKey other_ed25519_key{"ssh-ed25519",
                                            "AAAAC3NzaC1lZDI1NTE5AAAAIPgec1YANy7lfqPU5Jq9IUy09900hTXlt5XChc1a49zF",
                                            "SHA256:1q3QzG8Fcnhq7WGO9pxTT3aWHJUzdULInJ/gdbBf2NA"};
inline constexpr KnownKey ecdsa256_key{
    "ecdsa-sha2-nistp256",
    "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBNjdUxoj66YB3DALPkbMsC3iIwXhr2HOqcPqWD0B2XsOCUDw"
    "USBXSJhLeq1W2xgRVit58jMfqtFnxtmV2q8L0NQ=",
    "SHA256:69EcrRW8A4+t0Ist92U/KkRSbw5zKjVZXkHlGhYEJHA"};
inline constexpr KnownKey ecdsa384_key{
    "ecdsa-sha2-nistp384",
    "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBOvLpXZTcpjpjr6NtLuzE+xrwGLWbi/8rcvxF8l6XWQE/bOd"
    "Mb4JlEeQkKdWbX5h08JhsKVJKtZCGyXzVJLMDy7T5ycWb05DgNva1ca55hCkFIEdSKp5P8eiPDu+zJio4Q==",
    "SHA256:IzVpAi3RWLTLslAN8xDmqdKTrlBi+IpJbys3aeMCflo"};
inline constexpr KnownKey ecdsa521_key{
    "ecdsa-sha2-nistp521",
    "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBADqVLkJvJN1t8Meajnm56Mv6rxomIK8NwNfrhLe2jfXYj/T"
    "iulpI8l6wABu5nWA6T97yEIeKi59qz2Q6AwoC8C61AHYPiryqTR2Ylh1yVe4sRqxrZCon75jZl0vGh9Vblze6fxV/gIKF+ncXKoo"
    "9vEhy0CHuuf6hIGix2dai4BXW5LJNQ==",
    "SHA256:WAYY25KdGr/eSlTnojtKPDV6S87uUbDMCIFNBqIIFXo"};
inline constexpr KnownKey rsa_key{
    "ssh-rsa",
    "AAAAB3NzaC1yc2EAAAADAQABAAABAQDWnPGK6PvL35qfdcnDDKFGnyt31PSRfxrXOrG9BcN4gOjEyeBDKdm7CrlKWYJtcdF5CnQJ"
    "9A/Gsu007tVA4iFby7+pHioxwBDyomv80siV5iOjb0IoTSq7LbvUDBJFldKGVmr3gGeA9R+9A73E5W3Hj5rhiI13ocjF7E0knle/"
    "EDO8PlUIJ7nwo1bgT7ScSFw6k3wDtVV3fqON6SfiTVNsGn+fTzmVVpv9KnUx799gzoJ8e2ubGHRVfEapCIAEEegAP+1LDZJRJKe9"
    "2fYjhdjs9ZvNu7sQC3Puf+1MIPtyTBRtYJp9kSv2LCsfmAoKYMKHJWmGMqLMoZMYmlSB1VdF",
    "SHA256:g/dg7acAaV9wlqeU5fkXYpjORu43tvoWGWQW9wrZvoU"};
inline constexpr KnownKey sk_ed25519_key{
    "sk-ssh-ed25519@openssh.com",
    "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAABHNzaDo=",
    "SHA256:/p0CbeE3dk2SyW1OXXsThGc12ezDVD8eGw2/vtztDfk"};
inline constexpr KnownKey sk_ecdsa_key{
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBNjdUxoj66YB3DALPkbMsC3iIwXh"
    "r2HOqcPqWD0B2XsOCUDwUSBXSJhLeq1W2xgRVit58jMfqtFnxtmV2q8L0NQAAAAIc3NoOnNpdGU=",
    "SHA256:m3E0dJ8aTiCD+xOX0lwJBRulldyyZyJieOo679k5Mys"};

inline constexpr std::array known_keys{ed25519_key,  other_ed25519_key, ecdsa256_key,   ecdsa384_key,
                                       ecdsa521_key, rsa_key,           sk_ed25519_key, sk_ecdsa_key};

}  // namespace crossover::test
