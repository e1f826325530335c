#include "engine/diff_import.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "crossover/error.hpp"
#include "engine/diff_stream_sink.hpp"
#include "support/memory_image_store.hpp"

using namespace crossover;
using namespace crossover::test;

namespace {

const ImageSpec source{"data", "", "source"};
const ImageSpec replica{"data", "", "replica"};

ByteSource bytes_of(const std::string& text) {
  return [&text, position = std::size_t{0}](std::span<std::byte> out) mutable {
    const std::size_t count = std::min<std::size_t>({1000, out.size(), text.size() - position});
    std::copy_n(reinterpret_cast<const std::byte*>(text.data()) + position, count, out.begin());
    position += count;
    return count;
  };
}

struct Fixture {
  MemoryImageStore store;
  std::string full;
  std::string incremental;

  Fixture() {
    ImageLayout layout;
    layout.size_bytes = 1U << 20;
    store.create(source, layout);
    store.create(replica, ImageLayout{});
    store.write(source, 8192, std::vector<std::byte>(20000, std::byte{7}));
    const Snapshot one = store.create_snapshot(source, "one");
    store.write(source, 12288, std::vector<std::byte>(500, std::byte{9}));
    store.zero(source, 8192, 4096);
    const Snapshot two = store.create_snapshot(source, "two");
    full = stream(std::nullopt, one);
    incremental = stream(one, two);
  }

  std::string stream(const std::optional<Snapshot>& from, const Snapshot& to) {
    std::string out;
    DiffStreamSink sink(from ? std::optional(from->name) : std::nullopt, to.name,
                        [&](std::span<const std::byte> bytes) {
                          out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
                        },
                        {});
    store.read_diff(source, from, to, 0, sink, {});
    return out;
  }

  DiffHeader import(const std::string& stream, const DiffProgress& progress = {}) {
    return import_diff_stream(store, replica, bytes_of(stream), progress, {});
  }

  Error failure(const std::string& stream) {
    try {
      import(stream);
    } catch (const Error& error) {
      return error;
    }
    FAIL("it was taken");
    return {ErrorCode::io, "", "", ""};
  }

  [[nodiscard]] std::vector<std::string> snapshots() {
    std::vector<std::string> names;
    const ImageState state = store.find(replica).value();
    for (const Snapshot& snapshot : state.snapshots) names.push_back(snapshot.name);
    return names;
  }
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a full and an incremental stream") {
  std::vector<std::uint64_t> told;
  CHECK(import(full, [&](std::uint64_t offset, std::uint64_t) { told.push_back(offset); }).end_snapshot == "one");
  CHECK(std::is_sorted(told.begin(), told.end()));
  CHECK(told.back() == 1U << 20);
  CHECK(import(incremental).from_snapshot == "one");
  CHECK(snapshots() == Names{"one", "two"});
  CHECK((store.content(replica, "one") == store.content(source, "one")));
  CHECK((store.content(replica, "two") == store.content(source, "two")));
}

TEST_CASE_FIXTURE(Fixture, "streams that do not fit the image change nothing") {
  const Error no_start = failure(incremental);
  CHECK(no_start.code() == ErrorCode::not_found);
  CHECK(no_start.error_number() == EINVAL);
  CHECK(std::string(no_start.what()) ==
        "import diff data/replica: start snapshot 'one' does not exist in the image");
  import(full);
  const Error twice = failure(full);
  CHECK(twice.code() == ErrorCode::already_exists);
  CHECK(twice.error_number() == EEXIST);
  CHECK(failure("rbd diff v7\n").error_number() == EINVAL);
  CHECK(store.calls("write_diff") == 1);
}

TEST_CASE_FIXTURE(Fixture, "a stream cut anywhere leaves no end snapshot, and can be applied again") {
  import(full);
  for (std::size_t length = 0; length < incremental.size(); length += length < 60 ? 1 : 997) {
    CAPTURE(length);
    const Error error = failure(incremental.substr(0, length));
    CHECK(error.code() == ErrorCode::format);
    CHECK(error.error_number() == EBADMSG);
    const bool is_torn = error.cause().find("half written") != std::string::npos;
    // The header is 12 + 8 + 8 + 9 bytes, and changes nothing of an image that has that size; nothing is written
    // before the first byte of content, which comes after the 17 bytes of its record.
    const bool is_zero = incremental[37] == 'z';
    CHECK(is_torn == (length >= 37 + 17 + (is_zero ? 0 : 1)));
    CHECK(snapshots() == Names{"one"});
  }
  CHECK(failure(incremental + "x").cause().find("roll it back to 'one'") != std::string::npos);
  CHECK(snapshots() == Names{"one"});
  import(incremental);
  CHECK((store.content(replica, "two") == store.content(source, "two")));
}

TEST_CASE_FIXTURE(Fixture, "what was only resized is half written, what has no snapshot yet is written") {
  CHECK(failure(full.substr(0, 12 + 8 + 9)).cause().find("half written") != std::string::npos);
  store.fail_call("create_snapshot", 1, Error(ErrorCode::io, "create snapshot", "image", "broken", false, EIO));
  const std::string cause = failure(full).cause();
  CHECK(cause.find("half written") == std::string::npos);
  CHECK(cause.find("the image's head is written: apply the same diff again, or roll it back") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "no end snapshot before everything is on stable storage") {
  store.fail_call("finish", 1, Error(ErrorCode::io, "flush", "image", "broken", false, EIO));
  const Error error = failure(full);
  CHECK(error.operation() == "flush");
  CHECK(error.error_number() == EIO);
  CHECK(snapshots().empty());
}

TEST_CASE_FIXTURE(Fixture, "an image that is not there is told of before the stream is asked for") {
  const ByteSource never = [](std::span<std::byte>) -> std::size_t { throw std::logic_error("asked"); };
  try {
    import_diff_stream(store, {"data", "", "missing"}, never, {}, {});
    FAIL("it was taken");
  } catch (const Error& error) {
    CHECK(error.error_number() == ENOENT);
  }
}

TEST_CASE_FIXTURE(Fixture, "a stop leaves no end snapshot") {
  std::stop_source stop;
  const DiffProgress progress = [&](std::uint64_t, std::uint64_t) { stop.request_stop(); };
  CHECK_THROWS_AS(import_diff_stream(store, replica, bytes_of(full), progress, stop.get_token()), Cancelled);
  CHECK(snapshots().empty());
}
