#include "crossover/diff_stream.hpp"

#include <fmt/format.h>

#include <deque>
#include <variant>

#include "bindings.hpp"
#include "crossover/error.hpp"
#include "text.hpp"
#include "value_class.hpp"

namespace crossover::python {

namespace {

struct DiffData {
  std::uint64_t offset = 0;
  py::bytes data;
};

struct DiffZero {
  std::uint64_t offset = 0;
  std::uint64_t length_bytes = 0;
};

/// Gathers what the decoder says until Python asks for it.
class RecordQueue final : public DiffRecordHandler {
 public:
  std::optional<std::pair<DiffFormat, DiffHeader>> head;
  std::deque<std::variant<DiffData, DiffZero>> records;

  void header(DiffFormat format, const DiffHeader& header) override { head.emplace(format, header); }
  void data_begin(std::uint64_t offset, std::uint64_t length_bytes) override {
    offset_ = offset;
    length_bytes_ = length_bytes;
  }
  void data(std::uint64_t /*offset*/, std::span<const std::byte> bytes) override {
    // Grows with what really comes: the length is only a claim.
    content_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (content_.size() < length_bytes_) return;
    records.emplace_back(DiffData{offset_, py::bytes(content_)});
    content_.clear();
    if (content_.capacity() > kept_capacity_bytes) content_.shrink_to_fit();
  }
  void zero(std::uint64_t offset, std::uint64_t length_bytes) override {
    records.emplace_back(DiffZero{offset, length_bytes});
  }
  void end() override {}

 private:
  static constexpr std::size_t kept_capacity_bytes = std::size_t{8} << 20;

  std::uint64_t offset_ = 0;
  std::uint64_t length_bytes_ = 0;
  std::string content_;
};

/// Bytes of anything that has a buffer; a TypeError that begins with `what` for anything else.
py::bytes bytes_of(const py::object& value, std::string_view what) {
  if (PyObject_CheckBuffer(value.ptr()) == 0) {
    throw py::type_error(
        fmt::format("{} has to be bytes, not {}", what, py::type::of(value).attr("__name__").cast<std::string>()));
  }
  PyObject* bytes = PyBytes_FromObject(value.ptr());
  if (bytes == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::bytes>(bytes);
}

std::span<const std::byte> span_of(const py::bytes& bytes) {
  char* begin = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(bytes.ptr(), &begin, &size) != 0) throw py::error_already_set();
  return std::as_bytes(std::span(begin, static_cast<std::size_t>(size)));
}

class DiffStream {
 public:
  explicit DiffStream(py::object source) {
    if (PyObject_CheckBuffer(source.ptr()) != 0) source = py::module_::import("io").attr("BytesIO")(source);
    if (!py::hasattr(source, "read")) throw py::type_error("bytes or a binary file to read from are expected");
    read_ = source.attr("read");
  }

  py::str format() { return to_text(head().first == DiffFormat::v1 ? "v1" : "v2"); }

  DiffHeader header() { return head().second; }

  py::object next() {
    while (queue_.records.empty()) {
      if (error_) std::rethrow_exception(error_);
      if (finished_) throw py::stop_iteration();
      pull();
    }
    auto record = std::move(queue_.records.front());
    queue_.records.pop_front();
    return std::visit([](auto& content) { return py::cast(std::move(content)); }, record);
  }

 private:
  const std::pair<DiffFormat, DiffHeader>& head() {
    while (!queue_.head) {
      if (error_) std::rethrow_exception(error_);
      pull();
    }
    return *queue_.head;
  }

  /// Takes the next piece of the source. What is wrong with the stream is kept, so that the records before it come
  /// first and the error comes every time after; what read() itself throws comes out at once.
  void pull() {
    const py::bytes piece = bytes_of(read_(piece_bytes), "what read() returns");
    const std::span<const std::byte> bytes = span_of(piece);
    try {
      if (bytes.empty()) {
        decoder_.finish();
        finished_ = true;
      } else {
        decoder_.feed(bytes);
      }
    } catch (const Error&) {
      error_ = std::current_exception();
    }
  }

  static constexpr std::size_t piece_bytes = std::size_t{64} << 10;

  py::object read_;
  RecordQueue queue_;
  DiffDecoder decoder_{queue_};
  std::exception_ptr error_;
  bool finished_ = false;
};

DiffFormat format_named(const py::str& text) {
  const std::string name = from_text(text);
  if (name == "v1") return DiffFormat::v1;
  if (name == "v2") return DiffFormat::v2;
  throw py::value_error(fmt::format("'{}' is no format of a diff: v1 or v2", name));
}

/// Writes all of the bytes: an unbuffered file may take less at once.
void write_all(const py::object& write, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const py::object taken =
        write(py::bytes(reinterpret_cast<const char*>(bytes.data()), static_cast<py::ssize_t>(bytes.size())));
    const std::size_t count = taken.is_none() ? 0 : taken.cast<std::size_t>();
    if (count == 0 || count > bytes.size()) {
      // A file that is not blocking says None for nothing; to go on would leave a hole in the stream.
      PyErr_SetString(PyExc_OSError, "write() did not say that it took bytes");
      throw py::error_already_set();
    }
    bytes = bytes.subspan(count);
  }
}

std::uint64_t write_stream(const py::object& file, const DiffHeader& header, const py::iterable& records,
                           const py::str& format) {
  const py::object write = file.attr("write");
  std::uint64_t written = 0;
  DiffEncoder encoder(format_named(format), [&](std::span<const std::byte> bytes) {
    write_all(write, bytes);
    written += bytes.size();
  });
  encoder.header(header);
  for (const py::handle record : records) {
    if (py::isinstance<DiffData>(record)) {
      const auto& data = record.cast<const DiffData&>();
      encoder.data(data.offset, span_of(data.data));
    } else if (py::isinstance<DiffZero>(record)) {
      const auto& zero = record.cast<const DiffZero&>();
      encoder.zero(zero.offset, zero.length_bytes);
    } else {
      throw py::type_error("records have to be DiffData or DiffZero");
    }
  }
  encoder.end();
  return written;
}

py::object optional_text(const std::optional<std::string>& text) {
  if (!text) return py::none();
  return to_text(*text);
}

std::optional<std::string> optional_bytes(const std::optional<py::str>& text) {
  if (!text) return std::nullopt;
  return from_text(*text);
}

}  // namespace

void add_diff_stream(py::module_& module) {
  ValueClass<DiffData>(module, "DiffData", "A range of an image and what is in it; a value.")
      .field("offset", &DiffData::offset, "Where it begins in the image, in bytes.")
      .field(
          "data", [](const DiffData& d) -> py::object { return d.data; }, "The content.")
      .type()
      .def(py::init([](std::uint64_t offset, const py::object& data) {
             return DiffData{offset, bytes_of(data, "data")};
           }),
           py::arg("offset"), py::arg("data"));

  ValueClass<DiffZero>(module, "DiffZero", "A range of an image that reads as zeroes; a value.")
      .field("offset", &DiffZero::offset, "Where it begins in the image, in bytes.")
      .field("length_bytes", &DiffZero::length_bytes, "How long it is.")
      .type()
      .def(py::init([](std::uint64_t offset, std::uint64_t length_bytes) {
             return DiffZero{offset, length_bytes};
           }),
           py::arg("offset"), py::arg("length_bytes"));

  ValueClass<DiffHeader>(module, "DiffHeader", "What stands before the content of a diff; a value.")
      .field("size_bytes", &DiffHeader::size_bytes, "The image's size at the end of the diff.")
      .field(
          "from_snapshot", [](const DiffHeader& h) { return optional_text(h.from_snapshot); },
          "The start snapshot; None for a full diff.")
      .field(
          "end_snapshot", [](const DiffHeader& h) { return optional_text(h.end_snapshot); },
          "The end snapshot; None if the diff ends at the head.")
      .field("end_protected", &DiffHeader::end_protected,
             "Whether the end snapshot is protected; None if not said, which only v2 can.")
      .type()
      .def(py::init([](std::uint64_t size_bytes, const py::object& from, const py::object& end,
                       const py::object& end_protected) {
             const auto name = [](const py::object& text, std::string_view what) -> std::optional<py::str> {
               if (text.is_none()) return std::nullopt;
               if (!py::isinstance<py::str>(text)) throw py::type_error(fmt::format("{} has to be str", what));
               return py::reinterpret_borrow<py::str>(text);
             };
             DiffHeader header;
             header.size_bytes = size_bytes;
             header.from_snapshot = optional_bytes(name(from, "from_snapshot"));
             header.end_snapshot = optional_bytes(name(end, "end_snapshot"));
             if (!end_protected.is_none()) header.end_protected = end_protected.cast<bool>();
             return header;
           }),
           py::arg("size_bytes"), py::arg("from_snapshot") = py::none(), py::arg("end_snapshot") = py::none(),
           py::arg("end_protected") = py::none());

  py::class_<DiffStream>(
      module, "DiffStream",
      "A stream of \"rbd export-diff\", diff v1 or v2, read strictly: an iterator over its records, each a "
      "DiffData\n"
      "or a DiffZero, in ascending order.\n\n"
      "Error (format) names the byte where something is wrong. The formats have no checksum, so nothing counts\n"
      "before the iteration has come to its end: only then is it known that the stream is complete and that\n"
      "nothing follows it. One record is in memory at a time (the formats allow 1 GiB, Ceph's writers stay within\n"
      "a stripe period) and 64 KiB of the source. For one thread at a time.")
      .def(py::init<py::object>(), py::arg("source"),
           "From bytes, or from a file that is read in binary. The file is not closed.")
      .def_property_readonly("format", &DiffStream::format, "\"v1\" or \"v2\". Reads as far as the header.")
      .def_property_readonly("header", &DiffStream::header, "The DiffHeader. Reads as far as the header.")
      .def("__iter__", [](const py::object& self) { return self; })
      .def("__next__", &DiffStream::next)
      .def_static(
          "write", &write_stream, py::arg("file"), py::arg("header"), py::arg("records"), py::arg("format") = "v1",
          "write(file, header, records, format='v1')\n--\n\n"
          "Writes a whole stream of those records to a binary file and returns its length in bytes.\n\n"
          "Records ascend, do not overlap, are not empty and end within the size, else Error (usage). After\n"
          "any exception the file has a stream without an end, which every strict reader refuses. A reader\n"
          "can be written again: write(file, stream.header, stream, stream.format).");
}

}  // namespace crossover::python
