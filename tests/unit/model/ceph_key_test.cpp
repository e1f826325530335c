// What is known of a cephx key by its beginning, and by whom it can be read.
#include "model/ceph_key.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string>

using namespace crossover;

TEST_CASE("the type of a key is told, and nothing else of it") {
  CHECK(key_type("AQCOyg1rT/7TNhAAuzBOcPWjLOi0kws9MwyAKQ==") == "aes");
  CHECK(key_type("AgAAAAAAAAAAACAAfB9xgxRnwAc+6RO8QawOrxMzcXwvzi8C3Ntu0D1q0i8=") == "aes256k");
  CHECK(key_type("AwAAAAAA") == "of type 3");
  CHECK(key_type("AAEAAAAA") == "of type 256");
  for (const char* none : {"", "A", "AQ", "!QCO", "=="}) CHECK(key_type(none).empty());
  const std::string keyring =
      "[client.other]\n\tkey = AQCOyg1r\n[client.one]\n\tcaps mon = \"key = AQ\"\n\tkey = AgAAAAAA\n"
      "[client.two]\n";
  CHECK(key_type_in(keyring, "client.one") == "aes256k");
  CHECK(key_type_in(keyring, "client.other") == "aes");
  CHECK(key_type_in(keyring, "client.two").empty());
  CHECK(key_type_in(keyring, "client").empty());
  CHECK(unreadable_key("aes").empty());
  CHECK(unreadable_key("").empty());
  CHECK(unreadable_key("aes256k").find("19.2.6 or 20.2.4") != std::string::npos);
  CHECK(unreadable_key("of type 3").find("its key is of type 3, which") != std::string::npos);
}

TEST_CASE("which Ceph reads which key") {
  struct Row {
    const char* version;
    std::optional<bool> reads;
  };
  for (const Row& row : {Row{"ceph version 16.2.15 (618f44) pacific (stable)", false},
                         Row{"ceph version 18.2.8 (1) reef (stable)", false},
                         Row{"ceph version 19.2.5 (1) squid (stable)", false},
                         Row{"ceph version 19.2.6 (1) squid (stable)", true},
                         Row{"ceph version 19.3.0 (1) squid (dev)", true},
                         Row{"ceph version 20.2.3 (1) tentacle (stable)", false},
                         Row{"ceph version 20.2.4 (1) tentacle (stable)", true},
                         Row{"ceph version 20.2.4-pve1 (1) tentacle (stable)", true},
                         Row{"ceph version 21.2.0 (1) umbrella (stable)", true},
                         Row{"ceph version 20.2", std::nullopt},
                         Row{"ceph version Development (no_version)", std::nullopt},
                         Row{"", std::nullopt}}) {
    CAPTURE(row.version);
    CHECK(reads_key(row.version, "aes256k") == row.reads);
    CHECK(reads_key(row.version, "aes") == true);
    CHECK_FALSE(reads_key(row.version, "of type 3"));
  }
}
