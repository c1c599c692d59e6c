#include "container/log_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/rng.h"
#include "os/file.h"

namespace naru::container {
namespace {

class LogWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    folder = std::filesystem::temp_directory_path() / ("naru-log-" + secure_random_hex(6));
    std::filesystem::create_directories(folder);
    for (const char* name : {"out", "err"}) ASSERT_EQ(::mkfifo((folder / name).c_str(), 0600), 0);
    out.reset(::open((folder / "out").c_str(), O_RDWR | O_CLOEXEC));
    err.reset(::open((folder / "err").c_str(), O_RDWR | O_CLOEXEC));
    writer = std::move(*LogWriter::start());
  }
  void TearDown() override {
    writer.reset();
    std::filesystem::remove_all(folder);
  }
  Fd reader(const char* name) const {
    return Fd(::open((folder / name).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  }
  void add(LogLimits limits = {}) {
    ASSERT_TRUE(writer->add("a", reader("out"), reader("err"), folder / "logs", limits));
  }
  void print(const Fd& fd, std::string_view text) { ASSERT_TRUE(os::write_all(fd.get(), text, "fifo")); }
  void close_both() {
    out.reset();
    err.reset();
    ASSERT_TRUE(writer->drain("a", 10s));
  }
  std::string file(const char* name = "current.log") const {
    return os::read_file(folder / "logs" / name, 64 << 20).value_or("");
  }
  std::size_t lines_in_all() const {
    std::size_t lines = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "logs"))
      lines +=
          static_cast<std::size_t>(std::ranges::count(os::read_file(entry.path(), 64 << 20).value(), '\n'));
    return lines;
  }

  std::filesystem::path folder;
  Fd out, err;
  std::unique_ptr<LogWriter> writer;
};

TEST_F(LogWriterTest, WritesTimeStreamAndText) {
  add();
  print(out, "one\ntw");
  print(out, "o\nunended");
  print(err, "\n");
  close_both();
  const std::string text = file();
  EXPECT_EQ(std::ranges::count(text, '\n'), 4);
  for (const char* part : {"Z stdout one\n", "Z stdout two\n", "Z stdout unended\n", "Z stderr \n"})
    EXPECT_NE(text.find(part), text.npos) << part;
}

TEST_F(LogWriterTest, SplitsLinesThatAreTooLong) {
  add();
  print(out, std::string(kMaxLogLine + 5, 'x') + "\n");
  close_both();
  EXPECT_EQ(lines_in_all(), 2u);
}

TEST_F(LogWriterTest, RotatesBySizeAndKeepsAFewFiles) {
  add({.file_bytes = 4096, .files = 3});
  for (int i = 0; i < 1000; ++i) print(out, fmt::format("line number {}\n", i));
  close_both();
  EXPECT_NE(file().find("line number 999\n"), std::string::npos);
  EXPECT_FALSE(file("1.log").empty());
  EXPECT_FALSE(file("2.log").empty());
  EXPECT_FALSE(std::filesystem::exists(folder / "logs/3.log"));
  for (const char* name : {"current.log", "1.log", "2.log"})
    EXPECT_LE(file(name).size(), 4096u + 200) << name;
}

TEST_F(LogWriterTest, GoesOnWhereAnotherWriterEnded) {
  add();
  print(out, "first\n");
  print(err, "first\n");
  // Destroying it keeps what was read; what was not is in the FIFO, which the container holds open.
  writer.reset();
  writer = std::move(*LogWriter::start());
  print(out, "second\n");
  add();
  close_both();
  EXPECT_EQ(lines_in_all(), 3u);
}

TEST_F(LogWriterTest, DropsAndCountsWhenTheDiskIsFull) {
  std::filesystem::create_directories(folder / "logs");
  ASSERT_EQ(::mount("tmpfs", (folder / "logs").c_str(), "tmpfs", 0, "size=64k"), 0);
  add();
  for (int i = 0; i < 200; ++i) print(out, std::string(1000, 'x') + "\n");
  close_both();
  EXPECT_GT(writer->dropped("a"), 50u);
  writer->remove("a");
  EXPECT_EQ(::umount2((folder / "logs").c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace naru::container
