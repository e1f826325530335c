/// \file
/// Files and standard streams as a transfer reads and writes them. Every wait ends when the stop token is
/// triggered.
#pragma once

#include <cstddef>
#include <span>
#include <stop_token>
#include <string>

namespace crossover::cli {

/// A file or, for "-", standard input. Throws Error with the errno.
class InputFile {
 public:
  InputFile(std::string path, std::stop_token stop);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// The next bytes; 0 at the end.
  std::size_t read(std::span<std::byte> out);

 private:
  std::string path_;
  std::stop_token stop_;
  int fd_ = -1;
};

/// A new file or, for "-", standard output. The file is made by the first write, and must not exist then. One that
/// was not closed is removed: half a stream is not left under the name of a whole one.
class OutputFile {
 public:
  OutputFile(std::string path, std::stop_token stop);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  /// The file is whole.
  void close();

 private:
  void open();

  std::string path_;
  std::stop_token stop_;
  int fd_ = -1;
  bool is_ours_ = false;
  bool waits_ = false;  // a pipe, a socket or a terminal
};

}  // namespace crossover::cli
