// The first half of reading a Dockerfile: directives, comments and continuations become logical lines that
// still know where each of their bytes came from, and errors that show the place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace naru::format {

struct LogicalLine {
  struct Piece {
    std::size_t offset;  // in `text`
    std::size_t line, column;
  };
  std::string text;           // continuations joined, as Docker does: only the escape and the newline go
  std::vector<Piece> pieces;  // ascending; at least one

  Piece place(std::size_t offset) const;  // of a byte of `text`
};

class DockerfileSource {
 public:
  // Errors: too_large, dockerfile_invalid (NUL bytes, a wrong directive), unsupported (a frontend of its
  // own).
  static Result<DockerfileSource> read(std::string_view bytes, std::string_view path);

  const std::string& path() const { return path_; }
  char escape() const { return escape_; }
  const std::vector<LogicalLine>& lines() const { return logical_; }

  // "<path>:<line>:<column>: <what>", the line, and a marker of `length` under the column.
  std::unexpected<Error> error(Code code, LogicalLine::Piece at, std::size_t length, std::string_view what,
                               std::string remedy = {}) const;
  std::string locate(LogicalLine::Piece at, std::string_view what) const;

 private:
  Result<std::size_t> read_directives();  // how many physical lines they took
  void join_lines(std::size_t first);
  void append_physical(std::size_t index, std::string_view content);

  std::string path_;
  char escape_ = '\\';
  std::vector<std::string> physical_;
  std::vector<LogicalLine> logical_;
};

}  // namespace naru::format
