// What is known of a cephx key by its beginning.
#include "model/ceph_key.hpp"

#include <doctest/doctest.h>

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
