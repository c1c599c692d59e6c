// The launcher as its own process, with real containers. Needs root.
#include "launcher/launcher_fixture_test.h"

#include <sys/mount.h>

#include <functional>
#include <thread>

namespace naru::launcher {
namespace {

TEST_F(LauncherTest, StartsAContainerInItsNetworkAndReportsItsEnd) {
  auto hello = client->hello();
  ASSERT_TRUE(hello) << hello.error().message();
  EXPECT_FALSE(hello->boot_id.empty());
  auto network = client->ensure_network("shop.production");
  ASSERT_TRUE(network) << network.error().message();
  ContainerSpec spec = shell("web-1", "echo hello; exit 3");
  spec.network = "shop.production";
  auto started = client->start(spec);
  ASSERT_TRUE(started) << started.error().message();
  EXPECT_TRUE(started->address.starts_with("10.88."));
  const Json ended = event("container_exited", "id", "web-1");
  EXPECT_EQ(ended["status"]["exit_code"], 3);
  auto again = client->start(spec);  // idempotent: it has run
  ASSERT_TRUE(again);
  EXPECT_EQ(again->state, ContainerState::exited);
  EXPECT_FALSE(client->remove_network("shop.production"));  // its address is leased still
  EXPECT_TRUE(client->remove("web-1"));
  EXPECT_TRUE(client->remove("web-1"));
  EXPECT_TRUE(client->list()->empty());
  EXPECT_TRUE(client->remove_network("shop.production"));
}

TEST_F(LauncherTest, ALayerGoesOnlyWhenNobodyStandsOnIt) {
  const Digest run = Digest::of_sha256("of a container"), built = Digest::of_sha256("of a build");
  const Digest idle = Digest::of_sha256("idle"), absent = Digest::of_sha256("absent");
  for (const Digest& layer : {run, built, idle}) {
    fs::create_directories(data / "layers" / layer.hex() / "etc");
    std::ofstream(data / "layers" / layer.hex() / "etc/name") << layer.hex();
  }
  ContainerSpec spec = shell("web-1", "exit 0");
  spec.layers.push_back(run);
  ASSERT_TRUE(client->start(spec));
  event("container_exited", "id", "web-1");
  ASSERT_TRUE(client->build_begin({{"build", "b"}, {"layers", {base_digest(), built}}}));
  const std::vector<Digest> all{run, built, idle, absent};
  const auto would = client->remove_layers(all, true);
  ASSERT_TRUE(would) << would.error().message();
  EXPECT_EQ(would->removed, std::vector<Digest>{idle});
  EXPECT_GT(client->bytes_of_layers(would->removed).value_or(0), 0U);
  EXPECT_EQ(client->list_layers()->size(), 4U) << "a dry run removes nothing";
  const auto first = client->remove_layers(all, false);
  EXPECT_EQ(first->removed, std::vector<Digest>{idle});
  EXPECT_EQ(first->in_use, (std::vector<Digest>{run, built})) << "an ended container's bundle names it still";
  EXPECT_EQ(client->list_layers()->size(), 3U);
  ASSERT_TRUE(client->remove("web-1"));
  ASSERT_TRUE(client->build_discard("b"));
  EXPECT_EQ(client->remove_layers(all, false)->removed, (std::vector<Digest>{run, built}));
  const auto entries = [&] {
    return std::distance(fs::directory_iterator(data / "layers"), fs::directory_iterator());
  };
  EXPECT_EQ(entries(), 4) << "they are set aside only: nobody waits for their deletion";
  EXPECT_GT(client->sweep_layers().value_or(0), 0U);
  EXPECT_EQ(entries(), 1) << "of base_digest()";
  EXPECT_EQ(client->sweep_layers().value_or(1), 0U);
  EXPECT_EQ(client->start(spec).error().code, Code::not_found);
}

TEST_F(LauncherTest, WhatAKillLeftOfARemovalTheNextLauncherRemoves) {
  fs::create_directories(data / "layers/.unpack-gone-1234/etc");
  fs::create_directories(data / "volumes/.gone-1234/half");
  kill_launcher(SIGKILL);
  start_launcher();
  // A volume goes while the launcher answers already.
  const auto left = [&] {
    return fs::exists(data / "layers/.unpack-gone-1234") || fs::exists(data / "volumes/.gone-1234");
  };
  const MonoTime deadline = std::chrono::steady_clock::now() + 20s;
  while ((left() || !client->list()) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(10ms);  // a request to the dead one fails
  EXPECT_FALSE(left());
}

TEST_F(LauncherTest, EndedForGoodItLeavesNothingInTheKernelButItsNetworksComeBack) {
  const auto network = client->ensure_network("shop.production");
  ASSERT_TRUE(network);
  const auto in_host = [&](const std::string& command) {
    return std::system(
        fmt::format("nsenter --net=/proc/{}/fd/{} sh -c '{}'", ::getpid(), host.get(), command).c_str());
  };
  EXPECT_EQ(in_host("ip link show " + network->bridge + " >/dev/null"), 0);
  kill_launcher(ipc::kEndForGood);
  EXPECT_NE(in_host("ip link show " + network->bridge + " >/dev/null 2>&1"), 0);
  EXPECT_EQ(in_host("test -z \"$(nft list ruleset)\""), 0);
  const std::string group = "naru-" + Digest::of_sha256(data.native()).short_hex();
  EXPECT_EQ(std::system(("test -z \"$(find /sys/fs/cgroup -maxdepth 7 -name " + group + ")\"").c_str()), 0);
  start_launcher();
  const auto again = client->ensure_network("shop.production");
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->subnet, network->subnet);
}

TEST_F(LauncherTest, ExecCarriesItsStreamsAndItsEnd) {
  ASSERT_TRUE(client->start(shell("web-1", "sleep 1000")));
  ipc::ExecRequest request;
  request.container = "web-1";
  request.argv = {"/bin/sh", "-c", "cat; echo problem >&2; exit 7"};
  auto session = client->exec(request);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(::write(session->fds[0].get(), "ping", 4), 4);
  session->fds[0].reset();
  EXPECT_EQ(read_all(session->fds[1].get()), "ping");
  EXPECT_EQ(read_all(session->fds[2].get()), "problem\n");
  auto end = client->wait_exec(session->exec, 60s);
  ASSERT_TRUE(end) << end.error().message();
  EXPECT_EQ(end->exit_code, 7);
  request.argv = {"/bin/sleep", "1000"};
  request.timeout = 100ms;
  auto late = client->exec(request);
  ASSERT_TRUE(late);
  auto killed = client->wait_exec(late->exec, 60s);
  ASSERT_TRUE(killed);
  EXPECT_TRUE(killed->timed_out);
}

TEST_F(LauncherTest, ProbesAnswerWithCodeAndOutput) {
  ASSERT_TRUE(client->start(shell("web-1", "sleep 1000")));
  const auto bad = client->probe("web-1", {"/bin/sh", "-c", "echo sick; exit 1"}, 30s);
  ASSERT_TRUE(bad) << bad.error().message();
  EXPECT_EQ(bad->exit_code, 1);
  EXPECT_EQ(bad->output, "sick\n");
  EXPECT_EQ(client->probe("web-1", {"/bin/none"}, 30s)->exit_code, 127);
  const auto slow = client->probe("web-1", {"/bin/sleep", "1000"}, 100ms);
  ASSERT_TRUE(slow) << slow.error().message();
  EXPECT_TRUE(slow->timed_out);
  const std::string lines = "i=0; while [ $i -lt 4000 ]; do echo xxxxxxxxxxxxxxxxxxxxxxxx; i=$((i+1)); done";
  const auto loud = client->probe("web-1", {"/bin/sh", "-c", lines + "; exit 3"}, 30s);
  ASSERT_TRUE(loud) << loud.error().message();
  EXPECT_EQ(loud->exit_code, 3) << "who says much is heard to its end";
  EXPECT_EQ(loud->output.size(), 4096U);
  EXPECT_GT(client->stats("web-1")->pids, 0U);
}

TEST_F(LauncherTest, TellsWhatAContainerWroteIntoItsOwnFiles) {
  ASSERT_TRUE(client->start(shell("web-1",
                                  "x=0123456789; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do x=$x$x; done;"
                                  "for i in 1 2 3 4 5 6 7 8 9 10; do for j in 1 2 3 4 5 6 7 8; do echo $x; "
                                  "done; done > /written; echo done > /ready; sleep 1000")));
  EXPECT_EQ(client->probe("web-1", {"/bin/sh", "-c", "until cat /ready; do :; done"}, 10s)->exit_code, 0);
  const auto sizes = client->container_sizes();
  ASSERT_TRUE(sizes) << sizes.error().message();
  ASSERT_EQ(sizes->size(), 1U);
  EXPECT_EQ(sizes->front().name, "web-1");
  EXPECT_GE(sizes->front().bytes, 3'000'000U);
  EXPECT_LT(sizes->front().bytes, 4'500'000U);
}

TEST_F(LauncherTest, AVolumeInUseIsNotRemoved) {
  ASSERT_TRUE(client->ensure_volume("shop.production.data"));
  ASSERT_TRUE(client->ensure_volume("shop.production.data"));
  ContainerSpec spec = shell("db-1", "echo kept > /data/file; sleep 1000");
  spec.mounts.push_back({MountKind::volume, "shop.production.data", "/data", false, 0});
  auto started = client->start(spec);
  ASSERT_TRUE(started) << started.error().message();
  EXPECT_EQ(client->probe("db-1", {"/bin/sh", "-c", "until cat /data/file; do :; done"}, 60s)->exit_code, 0);
  const auto refused = client->remove_volume("shop.production.data");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_EQ(client->list_volumes()->size(), 1U);
  ASSERT_TRUE(client->stop("db-1", 0ms));
  EXPECT_FALSE(client->remove_volume("shop.production.data")) << "it may be started again";
  EXPECT_EQ(os::read_file(data / "volumes/shop.production.data/file", 100).value_or(""), "kept\n");
  ASSERT_TRUE(client->remove("db-1"));
  EXPECT_TRUE(client->remove_volume("shop.production.data"));
  EXPECT_TRUE(client->list_volumes()->empty());
  EXPECT_TRUE(fs::is_empty(data / "volumes"));
  EXPECT_TRUE(client->remove_volume("shop.production.data")) << "done is done";
}

TEST_F(LauncherTest, AVolumeHasASecondWriterOnlyWhenItIsShared) {
  ASSERT_TRUE(client->ensure_volume("shop.production.data"));
  const auto on_the_volume = [&](const char* id, bool read_only, bool shared) {
    ContainerSpec spec = shell(id, "sleep 1000");
    spec.mounts.push_back({MountKind::volume, "shop.production.data", "/data", read_only, 0, shared});
    return client->start(spec);
  };
  const auto first = on_the_volume("store-1", false, false);
  ASSERT_TRUE(first) << first.error().message();
  const auto refused = on_the_volume("database-1", false, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_NE(refused.error().message().find("is written by container store-1"), std::string::npos);
  EXPECT_FALSE(on_the_volume("backup-1", false, true)) << "its writer does not share it";
  EXPECT_TRUE(on_the_volume("reader-1", true, false));
  EXPECT_TRUE(on_the_volume("store-1", false, false)) << "asked again: the same one";
  ASSERT_TRUE(client->stop("store-1", 0ms));
  EXPECT_TRUE(on_the_volume("database-1", false, true));
  EXPECT_TRUE(on_the_volume("backup-1", false, true));
  EXPECT_FALSE(on_the_volume("store-2", false, false));
}

TEST_F(LauncherTest, AContainerOutlivesAKilledLauncherAndIsAdopted) {
  ASSERT_TRUE(client->ensure_network("shop.production"));
  ContainerSpec spec = shell("web-1", "sleep 1000");
  spec.network = "shop.production";
  auto started = client->start(spec);
  ASSERT_TRUE(started) << started.error().message();
  kill_launcher(SIGKILL);
  event("disconnected");
  start_launcher();
  auto listed = client->list();
  for (int i = 0; !listed && i < 20; ++i) listed = client->list();  // each waits for the connection by itself
  ASSERT_TRUE(listed) << listed.error().message();
  ASSERT_EQ(listed->size(), 1U);
  EXPECT_EQ(listed->front().pid, started->pid);
  EXPECT_EQ(listed->front().state, ContainerState::running);
  EXPECT_EQ(listed->front().address, started->address);
  EXPECT_EQ(client->probe("web-1", {"/bin/sh", "-c", "exit 0"}, 30s)->exit_code, 0);
  // It is our child now, as it would be the supervisor's: its end is ours to write down.
  const auto born = os::process_start_time(started->pid);
  ASSERT_TRUE(born);
  ::kill(started->pid, SIGKILL);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(started->pid), &info, WEXITED | WNOWAIT), 0);
  ASSERT_TRUE(container::record_exit(container::Paths::under(data), started->pid, *born, SIGKILL));
  ::waitpid(started->pid, nullptr, 0);
  EXPECT_EQ(event("container_exited", "id", "web-1")["status"]["exit_code"], 137);
}

TEST_F(LauncherTest, ForgedRequestsAreRefusedAndTheLauncherGoesOn) {
  ASSERT_TRUE(client->hello());
  const auto code = [&](const char* op, Json arguments) {
    auto answer = client->call(op, std::move(arguments), 60s);
    return answer ? std::optional<Code>() : answer.error().code;
  };
  EXPECT_EQ(code("no.such.op", Json::object()), Code::unsupported);
  EXPECT_EQ(code("container.start", Json::object()), Code::malformed);
  EXPECT_EQ(code("container.start", {{"spec", 7}}), Code::malformed);
  EXPECT_EQ(code("container.start", {{"spec", {{"id", "../../etc"}}}}), Code::invalid_argument);
  EXPECT_EQ(code("container.stop", {{"container", "../x"}}), Code::invalid_argument);
  EXPECT_EQ(code("container.stop", {{"container", "naru-build-x"}}), Code::forbidden);
  EXPECT_EQ(code("container.stop", {{"container", "x"}, {"grace_ms", -5}}), Code::invalid_argument);
  EXPECT_EQ(code("container.stop", {{"container", "x"}, {"grace_ms", "soon"}}), Code::malformed);
  EXPECT_EQ(code("network.ensure", {{"network", "a/b"}}), Code::invalid_argument);
  EXPECT_EQ(code("volume.remove", {{"volume", "../layers"}}), Code::invalid_argument);
  EXPECT_EQ(code("layer.unpack", {{"blob", "sha256:../../etc/passwd"}, {"diff_id", "x"}, {"media_type", ""}}),
            Code::invalid_argument);
  EXPECT_EQ(code("layer.unpack", {{"blob", Digest::of_sha256("a").text()},
                                  {"diff_id", Digest::of_sha256("b").text()},
                                  {"media_type", "x"}}),
            Code::not_found);
  EXPECT_EQ(code("layer.remove", {{"layers", {"sha256:../../containers"}}}), Code::invalid_argument);
  EXPECT_EQ(code("layer.remove", {{"layers", std::vector<std::string>(257, Digest::of_sha256("a").text())}}),
            Code::too_large);
  EXPECT_EQ(code("build.begin", {{"build", "../b"}, {"layers", Json::array()}}), Code::invalid_argument);
  EXPECT_EQ(code("build.begin", {{"build", "b"}, {"layers", {Digest::of_sha256("none").text()}}}),
            Code::not_found);
  EXPECT_EQ(code("build.commit", {{"build", "none"}}), Code::not_found);
  EXPECT_EQ(
      code("build.copy",
           {{"build", "b"}, {"sources", {"a"}}, {"dest", "/x"}, {"from", {{"checkout", "../volumes"}}}}),
      Code::forbidden);
  ContainerSpec spec = shell("web-1", "true");
  spec.mounts.push_back({MountKind::bind, "/etc", "/x", true, 0});
  EXPECT_EQ(client->start(spec).error().code, Code::forbidden);
  fs::create_directories(data / "checkouts/shop");
  fs::create_directory_symlink("/etc", data / "checkouts/shop/link");
  spec.mounts[0].source = (data / "checkouts/shop/link").string();
  EXPECT_FALSE(client->start(spec));  // the engine resolves without following links
  EXPECT_TRUE(client->list()->empty());
}

TEST_F(LauncherTest, GarbageEndsItsConnectionOnly) {
  ASSERT_TRUE(client->hello());
  for (const std::string& garbage :
       {std::string("\xff\xff\xff\xff", 4), std::string("GET / HTTP/1.1\r\n\r\n"),
        std::string("\x02\0\0\0{]", 6), std::string("\x02\0\0\0{}", 6),
        std::string("\x0b\0\0\0{\"id\":\"me\"}", 15)}) {
    auto raw = ipc::Channel::connect((data / "launcher.sock").string());
    ASSERT_TRUE(raw);
    ASSERT_GT(::send(raw->fd(), garbage.data(), garbage.size(), MSG_NOSIGNAL), 0);
    const auto answer = raw->receive(60s);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::closed) << answer.error().message();
  }
  EXPECT_TRUE(client->hello());
}

TEST_F(LauncherTest, WhatAClientHadRunningAsExecEndsWithItsConnection) {
  ASSERT_TRUE(client->start(shell("web-1", "sleep 1000")));
  auto other = ipc::LauncherClient::open({(data / "launcher.sock").string(), {}});
  ipc::ExecRequest request;
  request.container = "web-1";
  request.argv = {"/bin/sleep", "1000"};
  auto session = other->exec(request);
  ASSERT_TRUE(session) << session.error().message();
  other.reset();
  pollfd entry{session->fds[1].get(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 60'000), 1);  // the end of the file: its process is gone
  EXPECT_EQ(client->list()->front().state, ContainerState::running);
}

TEST_F(LauncherTest, CallsFailWhileThereIsNoLauncherAndWorkAfterwards) {
  ASSERT_TRUE(client->hello());
  kill_launcher(SIGKILL);
  event("disconnected");
  listener.reset();
  fs::remove(data / "launcher.sock");
  const auto lost = client->call("hello", Json::object(), 200ms);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code, Code::unavailable);
  listener = std::move(*ipc::listen_unix((data / "launcher.sock").string()));
  start_launcher();
  auto back = client->hello();
  for (int i = 0; !back && i < 20; ++i) back = client->hello();
  EXPECT_TRUE(back);
}

TEST_F(LauncherTest, ABuildRunsCopiesAndCommitsALayerThatTheNextStandsOn) {
  ASSERT_TRUE(client->build_begin(build::BeginRequest{"b1", {base_digest()}}));
  const auto [code, output] = build_run("b1", "echo building; echo made > /made; echo warning >&2; exit 0");
  EXPECT_EQ(code, 0);
  EXPECT_NE(output.find("building"), std::string::npos);
  EXPECT_NE(output.find("warning"), std::string::npos);
  fs::create_directories(data / "checkouts/shop/web");
  std::ofstream(data / "checkouts/shop/web/page.html") << "page";
  build::CopyRequest copy;
  copy.build = "b1";
  copy.from.checkout = "shop/web";
  copy.sources = {"page.html"};
  copy.dest = "/srv/";
  const auto copied = client->build_copy(copy);
  ASSERT_TRUE(copied) << copied.error().message();
  auto committed = client->build_commit("b1");
  ASSERT_TRUE(committed) << committed.error().message();
  const auto layer = committed->get<build::CommitResult>().layer;
  EXPECT_TRUE(fs::exists(data / "images/blobs/sha256" / layer.blob.hex()));
  EXPECT_TRUE(fs::exists(data / "layers" / layer.diff_id.hex() / "made"));
  // From its blob as well, as another machine would.
  fs::remove_all(data / "layers" / layer.diff_id.hex());
  const auto unpacked = client->unpack_layer(layer.blob, layer.diff_id, layer.media_type);
  ASSERT_TRUE(unpacked) << unpacked.error().message();
  ASSERT_TRUE(client->build_begin(build::BeginRequest{"b2", {base_digest(), layer.diff_id}}));
  EXPECT_EQ(build_run("b2", "cat /made /srv/page.html; exit 4"),
            (std::pair<std::int32_t, std::string>(4, "made\npage")));
  EXPECT_TRUE(client->build_discard("b2"));
  EXPECT_TRUE(client->build_discard("b2"));
  ASSERT_TRUE(client->build_begin(build::BeginRequest{"b3", {base_digest()}}));
  EXPECT_EQ(build_run("b3", ":").first, 0);
  auto empty = client->build_commit("b3");
  ASSERT_TRUE(empty) << empty.error().message();
  EXPECT_TRUE(empty->get<build::CommitResult>().empty);
  EXPECT_TRUE(client->list()->empty());
}

TEST_F(LauncherTest, ABuildBegunWhileOneOfItsNameIsBeingDeletedFindsNothingOfIt) {
  const fs::path upper = data / "builds/b1/upper";
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(client->build_begin(build::BeginRequest{"b1", {base_digest()}}));
    ASSERT_TRUE(fs::is_empty(upper)) << "round " << round;
    for (int folder = 0; folder < 30; ++folder) {
      fs::create_directories(upper / std::to_string(folder));
      for (int file = 0; file < 30; ++file)
        std::ofstream(upper / std::to_string(folder) / std::to_string(file));
    }
    std::jthread discards([&] { EXPECT_TRUE(client->build_discard("b1")); });
    const auto left = [&] {
      std::error_code gone;
      return std::distance(fs::directory_iterator(upper, gone), fs::directory_iterator());
    };
    while (left() == 30) std::this_thread::yield();
    const auto begun = client->build_begin(build::BeginRequest{"b1", {base_digest()}});
    ASSERT_TRUE(begun) << begun.error().message();
    EXPECT_EQ(left(), 0) << "remnants would be in the layer";
    EXPECT_EQ(build_run("b1", "echo made > /made").first, 0);
    const auto committed = client->build_commit("b1");
    ASSERT_TRUE(committed) << committed.error().message();
    const auto layer = data / "layers" / committed->get<build::CommitResult>().layer.diff_id.hex();
    EXPECT_TRUE(fs::exists(layer / "made"));
    EXPECT_EQ(std::distance(fs::directory_iterator(layer), fs::directory_iterator()), 1);
  }
  const auto builds = [&] {
    return std::distance(fs::directory_iterator(data / "builds"), fs::directory_iterator());
  };
  EXPECT_EQ(builds(), 1) << "of .empty";
}

TEST_F(LauncherTest, ABenchThatIsDiscardedInTheMiddleOfItsStepGoesWhenTheNextOneBegins) {
  ASSERT_TRUE(client->build_begin(build::BeginRequest{"b1", {base_digest()}}));
  std::jthread runs([&] { EXPECT_EQ(build_run("b1", "echo begun > /begun; sleep 1000").first, 137); });
  while (!fs::exists(data / "builds/b1/upper/begun")) std::this_thread::sleep_for(1ms);
  (void)client->build_discard("b1");  // conflict, unless the step ended as quickly as it was killed
  runs.join();
  ASSERT_TRUE(client->build_begin(build::BeginRequest{"b2", {base_digest()}}));
  EXPECT_FALSE(fs::exists(data / "builds/b1"));
  EXPECT_EQ(std::distance(fs::directory_iterator(data / "builds"), fs::directory_iterator()), 2)
      << "of .empty and b2";
  EXPECT_TRUE(client->build_discard("b2"));
}

TEST_F(LauncherTest, WhatAControlThatWentWasBuildingLeavesNothing) {
  for (int folder = 0; folder < 20; ++folder) {
    const fs::path path = data / "checkouts/shop/web" / std::to_string(folder);
    fs::create_directories(path);
    for (int file = 0; file < 30; ++file) std::ofstream(path / std::to_string(file)) << "page";
  }
  auto gone = ipc::LauncherClient::open({(data / "launcher.sock").string(), {}});
  for (const char* build : {"idle", "runs", "copies"})
    ASSERT_TRUE(gone->build_begin(build::BeginRequest{build, {base_digest()}})) << build;
  std::jthread runs([&] {
    build::RunRequest request;
    request.build = "runs";
    request.argv = {"/bin/sh", "-c", "echo begun > /begun; sleep 1000"};
    request.env = {"PATH=/usr/bin"};
    EXPECT_FALSE(gone->build_run(request, {}));
  });
  std::jthread copies([&] {
    build::CopyRequest copy;
    copy.build = "copies";
    copy.from.checkout = "shop/web";
    copy.sources = {"."};
    copy.dest = "/srv/";
    (void)gone->build_copy(copy);
  });
  const auto builds = data / "builds";
  const auto wait_until = [](const std::function<bool()>& holds) {
    const MonoTime deadline = std::chrono::steady_clock::now() + 30s;
    while (!holds() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(1ms);
    return holds();
  };
  ASSERT_TRUE(wait_until(
      [&] { return fs::exists(builds / "runs/upper/begun") && fs::exists(builds / "copies/upper/srv"); }));
  gone->stop();
  EXPECT_TRUE(wait_until([&] {
    return std::distance(fs::directory_iterator(builds), fs::directory_iterator()) == 1;
  })) << "of .empty";
  EXPECT_TRUE(client->build_begin(build::BeginRequest{"copies", {base_digest()}})) << "the next one's";
  EXPECT_TRUE(client->build_discard("copies"));
}

TEST_F(LauncherTest, AStepThatCannotBeCleanedUpKeepsNoLauncherFromStarting) {
  ASSERT_TRUE(client->start(shell("web-1", "sleep 1000")));
  const fs::path builds = data / "builds", upper = builds / "b1/upper";
  const fs::path leases = data / "networks/naru-builds.leases";
  std::vector<std::jthread> runs;
  for (const char* build : {"b1", "b2"}) {
    ASSERT_TRUE(client->build_begin(build::BeginRequest{build, {base_digest()}}));
    runs.emplace_back([&, build] {
      build::RunRequest request;
      request.build = build;
      request.argv = {"/bin/sh", "-c", "echo begun > /begun; sleep 1000"};
      request.env = {"PATH=/usr/bin"};
      EXPECT_FALSE(client->build_run(request, {}));
    });
    while (!fs::exists(builds / build / "upper/begun")) std::this_thread::sleep_for(1ms);
  }
  EXPECT_NE(os::read_file(leases, 1 << 20)->find("naru-build-"), std::string::npos);
  const auto killed = [&] {
    kill_launcher(SIGKILL);
    event("disconnected");
    const std::scoped_lock lock(mutex);
    events.clear();
  };
  killed();
  // As on a disk that is full or does not answer: the leases cannot be written, a bundle and a bench do not
  // go.
  fs::create_directory(data / "networks/naru-builds.leases.new");
  fs::path bundle;
  for (const auto& entry : fs::directory_iterator(data / "containers"))
    if (entry.path().filename().string().starts_with("naru-build-")) bundle = entry.path();
  ASSERT_FALSE(bundle.empty());
  for (const fs::path& path : {bundle / "held", upper / "held"}) {
    fs::create_directory(path);
    ASSERT_EQ(::mount("none", path.c_str(), "tmpfs", 0, nullptr), 0);
  }
  start_launcher();
  const auto answers = [&] {
    auto listed = client->list();
    for (int i = 0; !listed && i < 20; ++i) listed = client->list();
    return listed && listed->size() == 1 && listed->front().id == "web-1" &&
           listed->front().state == ContainerState::running;
  };
  EXPECT_TRUE(answers());
  EXPECT_TRUE(client->build_begin(build::BeginRequest{"b3", {base_digest()}}));
  EXPECT_TRUE(client->build_discard("b3"));
  for (const fs::path& path : {bundle / "held", upper / "held"}) EXPECT_EQ(::umount(path.c_str()), 0);
  fs::remove(data / "networks/naru-builds.leases.new");
  killed();
  start_launcher();
  EXPECT_TRUE(answers());
  EXPECT_EQ(os::read_file(leases, 1 << 20)->find("naru-build-"), std::string::npos);
  EXPECT_FALSE(fs::exists(bundle));
  EXPECT_EQ(std::distance(fs::directory_iterator(builds), fs::directory_iterator()), 1);
}

TEST_F(LauncherTest, ABuildIsKilledOnRequestAndAtItsTimeout) {
  ASSERT_TRUE(client->build_begin(build::BeginRequest{"b1", {base_digest()}}));
  build::RunRequest request;
  request.build = "b1";
  request.argv = {"/bin/sh", "-c", "echo begun; sleep 1000"};
  request.env = {"PATH=/usr/bin"};
  std::stop_source stop;
  auto cancelled =
      client->build_run(request, [&](std::string_view) { stop.request_stop(); }, stop.get_token());
  ASSERT_FALSE(cancelled);
  EXPECT_EQ(cancelled.error().code, Code::build_cancelled);
  request.timeout = 300ms;
  auto late = client->build_run(request, {});
  ASSERT_TRUE(late) << late.error().message();
  EXPECT_TRUE(late->value("timed_out", false));
  EXPECT_TRUE(client->build_discard("b1"));
}

}  // namespace
}  // namespace naru::launcher
