#include "ipc/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <thread>

namespace naru::ipc {
namespace {

std::pair<Channel, Channel> make_pair_of_channels() {
  auto made = Channel::pair();
  EXPECT_TRUE(made);
  return std::move(*made);
}

void write_raw(const Channel& channel, std::string_view bytes) {
  ASSERT_EQ(::write(channel.fd(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
}

TEST(Channel, CarriesMessagesInOrder) {
  auto [a, b] = make_pair_of_channels();
  ASSERT_TRUE(a.send({{"n", 1}}, 20s));
  ASSERT_TRUE(a.send({{"n", 2}}, 20s));
  EXPECT_EQ(b.receive(20s)->body["n"], 1);
  EXPECT_EQ(b.receive(20s)->body["n"], 2);
}

TEST(Channel, IsNotPassedOnToProgramsAlthoughItWasInherited) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const Fd other(ends[1]);
  ASSERT_EQ(::fcntl(ends[0], F_GETFD), 0) << "as one that the supervisor handed over";
  const Channel channel{Fd(ends[0])};
  EXPECT_EQ(::fcntl(channel.fd(), F_GETFD), FD_CLOEXEC);
}

TEST(Channel, CarriesDescriptorsWithTheirOwnMessage) {
  auto [a, b] = make_pair_of_channels();
  int pipe_ends[2];
  ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  Fd read_end(pipe_ends[0]), write_end(pipe_ends[1]);
  ASSERT_TRUE(a.send({{"n", 1}}, 20s));
  const std::array<int, 1> fds{write_end.get()};
  ASSERT_TRUE(a.send({{"n", 2}}, 1s, fds));
  EXPECT_TRUE(b.receive(20s)->fds.empty());
  auto second = b.receive(20s);
  ASSERT_TRUE(second);
  ASSERT_EQ(second->fds.size(), 1U);
  EXPECT_FALSE(second->body.contains("fds"));
  ASSERT_EQ(::write(second->fds[0].get(), "x", 1), 1);
  char c = 0;
  EXPECT_EQ(::read(read_end.get(), &c, 1), 1);
}

TEST(Channel, MovesMessagesLargerThanTheSocketsBuffer) {
  auto [a, b] = make_pair_of_channels();
  const std::string large(8U << 20, 'x');
  std::thread sender([&a = a, &large] { EXPECT_TRUE(a.send({{"text", large}}, 10s)); });
  auto got = b.receive(10s);
  sender.join();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->body["text"].get<std::string>().size(), large.size());
}

TEST(Channel, QueuesAndFlushesWithoutBlocking) {
  auto [a, b] = make_pair_of_channels();
  const std::string large(4U << 20, 'x');
  ASSERT_TRUE(a.queue({{"text", large}}));
  ASSERT_TRUE(a.flush());
  EXPECT_TRUE(a.wants_write());
  std::size_t messages = 0;
  while (messages == 0) {
    auto got = b.read_available();
    ASSERT_TRUE(got);
    messages += got->size();
    ASSERT_TRUE(a.flush());
  }
  EXPECT_FALSE(a.wants_write());
}

TEST(Channel, RefusesToQueueWithoutEndForAPeerThatDoesNotRead) {
  auto [a, b] = make_pair_of_channels();
  const std::string large(8U << 20, 'x');
  Result<void> last;
  for (int i = 0; i < 6 && last; ++i) last = a.queue({{"text", large}});
  ASSERT_FALSE(last);
  EXPECT_EQ(last.error().code, Code::too_large);
}

TEST(Channel, TimesOutWhenNothingComes) {
  auto [a, b] = make_pair_of_channels();
  auto got = b.receive(5ms);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::timeout);
}

TEST(Channel, GivesWhatCameBeforeTheEndThenClosed) {
  auto [a, b] = make_pair_of_channels();
  ASSERT_TRUE(a.send({{"n", 1}}, 20s));
  a.close();
  auto first = b.read_available();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->size(), 1U);
  auto second = b.read_available();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::closed);
}

TEST(Channel, RefusesGarbage) {
  const std::vector<std::pair<std::string, Code>> cases{
      {std::string("\xff\xff\xff\x7f", 4), Code::too_large},
      {std::string("\x03\0\0\0{{{", 7), Code::malformed},
      {std::string("\x02\0\0\0[]", 6), Code::malformed},
      {std::string("\x01\0\0\0"
                   "7",
                   5),
       Code::malformed},
      {std::string("\0\0\0\0", 4), Code::malformed},
      {std::string("\x09\0\0\0{\"fds\":1}", 13), Code::malformed},
      {std::string("\x0a\0\0\0{\"fds\":-1}", 14), Code::malformed},
      {std::string("\x0b\0\0\0{\"fds\":\"x\"}", 15), Code::malformed},
  };
  for (const auto& [bytes, code] : cases) {
    auto [a, b] = make_pair_of_channels();
    write_raw(a, bytes);
    auto got = b.receive(20s);
    ASSERT_FALSE(got) << bytes;
    EXPECT_EQ(got.error().code, code) << got.error().message();
  }
}

TEST(Channel, NamesAPeerThatLeavesInTheMiddleOfAMessage) {
  auto [a, b] = make_pair_of_channels();
  write_raw(a, std::string("\x20\0\0\0{\"n\":", 9));
  a.close();
  auto got = b.receive(20s);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::closed);
  EXPECT_NE(got.error().context.find("middle"), std::string::npos);
}

TEST(Channel, SendingToAClosedPeerIsAnErrorAndNoSignal) {
  auto [a, b] = make_pair_of_channels();
  b.close();
  auto sent = a.send({{"n", 1}}, 20s);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Code::closed);
}

TEST(Channel, ListensWithTheModeAndKnowsItsPeer) {
  char folder[] = "/tmp/naru-channel-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/s.sock";
  {
    auto listening = listen_unix(path, 0600);
    ASSERT_TRUE(listening) << listening.error().message();
    struct stat info{};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600U);
    auto client = Channel::connect(path);
    ASSERT_TRUE(client);
    const Fd accepted(::accept4(listening->get(), nullptr, nullptr, SOCK_CLOEXEC));
    auto peer = peer_of(accepted.get());
    ASSERT_TRUE(peer);
    EXPECT_EQ(peer->pid, ::getpid());
  }
  auto gone = Channel::connect(path);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::unavailable);
  ::unlink(path.c_str());
  ::rmdir(folder);
  EXPECT_EQ(listen_unix("/" + std::string(200, 'x')).error().code, Code::invalid_argument);
}

TEST(Channel, ErrorsKeepTheirPartsOnTheWire) {
  const Error error{Code::disk_full, "write x", 28, "free space"};
  const Error back = error_from_json(error_to_json(error));
  EXPECT_EQ(back.code, error.code);
  EXPECT_EQ(back.context, error.context);
  EXPECT_EQ(back.sys_errno, error.sys_errno);
  EXPECT_EQ(back.remedy, error.remedy);
  EXPECT_EQ(error_from_json(Json("nonsense")).code, Code::internal);
}

}  // namespace
}  // namespace naru::ipc
