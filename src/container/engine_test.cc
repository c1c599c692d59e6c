#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "container/engine_fixture_test.h"
#include "container/engine_state.h"
#include "container/plan.h"
#include "model/capabilities.h"

namespace naru::container {
namespace {

TEST_F(EngineTest, RunsAProgramAndKeepsItsOutput) {
  const auto status = run(shell("echo hello; echo oops >&2; exit 37"));
  EXPECT_EQ(status.state, ContainerState::exited);
  EXPECT_EQ(status.exit_code, 37);
  EXPECT_FALSE(status.out_of_memory);
  EXPECT_EQ(log(status.id), "hello\n");
  EXPECT_EQ(log(status.id, "stderr"), "oops\n");
}

TEST_F(EngineTest, IsolatesProcessesNamesAndMounts) {
  const auto status = run(shell(
      "echo pid $$; hostname; cat /etc/hostname; ls / | tr '\\n' ' '; echo; ls /proc | grep -c '^[0-9]';"
      "wc -l < /proc/self/mountinfo; ls /old /oldroot 2>/dev/null; cat /proc/self/cgroup | grep -c naru"));
  const std::string text = log(status.id);
  EXPECT_TRUE(text.starts_with("pid 1\ninside\ninside\nbin dev etc lib lib64 proc root sys tmp usr var "))
      << text;
  EXPECT_EQ(text.find(data.native()), std::string::npos);
  EXPECT_TRUE(text.ends_with("\n0\n")) << "the cgroup namespace hides where the container stands: " << text;
}

TEST_F(EngineTest, HasTheUsualDevicesAndNoOthers) {
  const auto status =
      run(shell("ls /dev | tr '\\n' ' '; echo; echo x > /dev/null && echo null; head -c 4 /dev/urandom | wc "
                "-c; readlink /dev/stdout;"
                "mknod /dev/disk b 8 0 && cat /dev/disk; mknod /dev/mem c 1 1 && head -c1 /dev/mem; mknod "
                "/tmp/zero c 1 5; head -c1 /tmp/zero"));
  EXPECT_EQ(log(status.id),
            "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
            "\nnull\n4\n/proc/self/fd/1\n");
  const std::string errors = log(status.id, "stderr");
  EXPECT_NE(errors.find("/tmp/zero"), std::string::npos) << errors;
  EXPECT_NE(errors.find("Operation not permitted"), std::string::npos) << errors;  // no CAP_MKNOD
}

TEST_F(EngineTest, MasksWhatTheKernelShowsOfTheHost) {
  const auto status =
      run(shell("for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do test ! -e $f || test "
                "$(wc -c < $f) = 0 || echo leak $f; done;"
                "ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger;"
                "mkdir /sys/fs/cgroup/x; touch /sys/x; echo end"));
  EXPECT_EQ(log(status.id), "0\nend\n");
  EXPECT_NE(log(status.id, "stderr").find("Read-only file system"), std::string::npos);
}

TEST_F(EngineTest, DropsCapabilitiesAndRefusesDangerousCalls) {
  const auto status = run(shell(
      "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status | tr '\\t\\n' '  '; echo;"
      "unshare -U true; echo unshare $?; mount -t tmpfs none /tmp; echo mount $?;"
      "perl -e '$!=0; syscall(250,0,0,0,0,0); print 0+$!, qq(\\n); $!=0; syscall(435,0,0); print 0+$!, "
      "qq(\\n); $!=0; syscall(500); print 0+$!, qq(\\n)'"));
  EXPECT_EQ(log(status.id),
            "CapInh: 0000000000000000 CapPrm: 00000000a00425fb CapEff: 00000000a00425fb CapBnd: "
            "00000000a00425fb CapAmb: 0000000000000000 "
            "NoNewPrivs: 1 Seccomp: 2 \nunshare 1\nmount 32\n1\n38\n38\n");
}

TEST_F(EngineTest, RunsAsAUserOfTheImage) {
  auto spec =
      shell("id -u; id -g; id -G; echo $HOME; grep CapEff /proc/self/status; echo again > /dev/stdout");
  spec.user = "app";
  const auto status = run(spec);
  EXPECT_EQ(log(status.id), "1000\n1000\n1000 2000\n/home/app\nCapEff:\t0000000000000000\nagain\n");
  auto stranger = shell("true");
  stranger.user = "nobody-here";
  const auto refused = engine->start(stranger);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::not_found);
}

TEST_F(EngineTest, SaysExactlyWhyAProgramCannotStart) {
  const auto code_of = [&](const std::string& program) {
    auto spec = shell("");
    spec.argv = {program};
    const auto started = engine->start(spec);
    EXPECT_FALSE(started) << program;
    return started ? -1 : exit_code_for(started.error()).value_or(0);
  };
  EXPECT_EQ(code_of("no-such-program"), 127);
  EXPECT_EQ(code_of("/no/such/program"), 127);
  EXPECT_EQ(code_of("plain"), 126);
  EXPECT_EQ(code_of("broken"), 126);
  EXPECT_EQ(code_of("/tmp"), 126);
  EXPECT_TRUE(engine->list().empty());
}

TEST_F(EngineTest, NeverExecutesTheLaunchersOwnProgram) {
  for (const char* program : {"/proc/self/exe", "magic"}) {
    auto spec = shell("");
    spec.argv = {program};
    const auto started = engine->start(spec);
    ASSERT_FALSE(started) << program;
    EXPECT_EQ(started.error().code, Code::command_not_executable);
  }
}

TEST_F(EngineTest, KillsWhatEatsItsMemoryAndSaysSo) {
  auto spec = shell("exec perl -e '$x = \"x\" x (200 << 20); print \"survived\"'");
  spec.resources.memory_bytes = 32 << 20;
  const auto status = run(spec);
  EXPECT_EQ(status.exit_code, 137);
  EXPECT_TRUE(status.out_of_memory);
}

// On a machine that would have 512 MiB: applications together get 256, builds 128, one step 96.
TEST_F(EngineTest, HoldsCeilingsOverWhatHasNoLimitOfItsOwn) {
  engine.reset();
  auto small = Engine::open(Paths::under(data), {.total_memory = 512 << 20});
  ASSERT_TRUE(small) << small.error().message();
  engine = std::move(*small);
  const auto eat = [&](int megabytes, const char* parent) {
    auto spec = shell(fmt::format("exec perl -e '$x = \"x\"; $x x= {} << 20; sleep 1000'", megabytes));
    spec.parent_cgroup = parent;
    return spec;
  };
  const auto step = run(eat(110, "builds"));
  EXPECT_EQ(step.exit_code, 137);
  EXPECT_TRUE(step.out_of_memory);
  // Each alone would fit: together they are stopped before the host is.
  const auto used = [&](const std::string& id) { return engine->stats(id).value_or(Stats{}).memory_bytes; };
  auto first = engine->start(eat(150, "apps"));
  ASSERT_TRUE(first);
  ASSERT_TRUE(eventually([&] { return used(first->status.id) > 150 << 20; }));
  auto second = engine->start(eat(150, "apps"));
  ASSERT_TRUE(second);
  ASSERT_TRUE(eventually([&] {
    return os::pidfd_wait(first->pidfd.get(), 0ms).value() ||
           os::pidfd_wait(second->pidfd.get(), 0ms).value();
  }));
}

TEST_F(EngineTest, IsNotProtectedFromTheKernelsKillerAsItsLauncherIs) {
  // Lowering wants CAP_SYS_RESOURCE, which this machine may not give; then nothing is inherited either.
  const bool lowered = os::write_existing("/proc/self/oom_score_adj", "-500").has_value();
  const std::string show = "cat /proc/self/oom_score_adj";
  auto application = shell(show + "; sleep 1000"), build = shell(show);
  build.parent_cgroup = "builds";
  const auto started = engine->start(application);
  EXPECT_EQ(run(build).exit_code, 0);
  ExecSpec entering;
  entering.argv = {"cat", "/proc/self/oom_score_adj"};
  EXPECT_EQ(exec(application.id, entering), "0\n");
  EXPECT_EQ(os::read_file("/proc/self/oom_score_adj", 16).value(), lowered ? "-500\n" : "0\n")
      << "the launcher's own changed";
  ASSERT_TRUE(os::write_existing("/proc/self/oom_score_adj", "0"));
  EXPECT_EQ(log(application.id), "0\n");
  EXPECT_EQ(log(build.id), "500\n");
}

TEST_F(EngineTest, LimitsTheNumberOfProcesses) {
  auto spec = shell("i=0; while [ $i -lt 30 ]; do sleep 60 & i=$((i+1)); done; echo all");
  spec.resources.pids = 8;
  const auto status = run(spec);
  EXPECT_NE(status.exit_code, 0);
  EXPECT_EQ(log(status.id), "");
}

TEST_F(EngineTest, StopsWithTheSignalAndKillsAfterTheGrace) {
  auto polite = shell("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done");
  polite.stop_grace = 10s;
  ASSERT_TRUE(engine->start(polite));
  ASSERT_TRUE(eventually([&] { return log(polite.id) == "ready\n"; }));
  EXPECT_EQ(engine->stop(polite.id)->exit_code, 5);
  EXPECT_EQ(log(polite.id), "ready\nbye\n");
  const auto deaf = shell("trap '' TERM; while :; do sleep 1; done");
  ASSERT_TRUE(engine->start(deaf));
  EXPECT_EQ(engine->stop(deaf.id)->exit_code, 137);
  EXPECT_EQ(engine->stop(deaf.id)->exit_code, 137) << "stopping is idempotent";
}

TEST_F(EngineTest, TellsWhatEndedByItselfFromWhatWasStoppedEvenAfterARestart) {
  const auto polite = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done");
  ASSERT_TRUE(engine->start(polite));
  ASSERT_TRUE(eventually([&] { return log(polite.id) == "ready\n"; }));
  const auto done = run(shell("exit 0"));
  EXPECT_TRUE(engine->stop(polite.id)->stop_asked);
  EXPECT_FALSE(engine->stop(done.id)->stop_asked);
  reopen();
  ASSERT_TRUE(engine->adopt());
  EXPECT_TRUE(engine->stop(polite.id)->stop_asked);
  EXPECT_FALSE(engine->stop(done.id)->stop_asked);
  EXPECT_EQ(engine->stop(done.id)->exit_code, 0);
}

TEST_F(EngineTest, StartsOnceForOneId) {
  const auto spec = shell("sleep 60");
  const auto first = engine->start(spec), second = engine->start(spec);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->status.pid, second->status.pid);
  EXPECT_EQ(engine->remove(spec.id).error().code, Code::conflict);
}

TEST_F(EngineTest, ExecutesInARunningContainer) {
  auto spec = shell("sleep 60");
  spec.env = {"COLOUR=red"};
  ASSERT_TRUE(engine->start(spec));
  int code = -1;
  ExecSpec command;
  command.argv = {"sh", "-c",
                  "echo $COLOUR $EXTRA $(hostname) $PPID; cd /proc && ls -d [0-9]* | wc -l; grep -E "
                  "'CapEff|Seccomp:' /proc/self/status; pwd; exit 3"};
  command.env = {"EXTRA=1"};
  command.cwd = "/tmp";
  const std::string text = exec(spec.id, command, &code);
  EXPECT_EQ(code, 3);
  EXPECT_TRUE(text.starts_with("red 1 inside 0\n")) << text;
  EXPECT_NE(text.find("CapEff:\t00000000a00425fb\nSeccomp:\t2\n/proc\n"), std::string::npos) << text;
  EXPECT_EQ(exec(spec.id, {{"cat", "/proc/1/cgroup"}, {}, "", "", false}),
            exec(spec.id, {{"cat", "/proc/self/cgroup"}, {}, "", "", false}));
  EXPECT_EQ(exec(spec.id, {{"id", "-u"}, {}, "app", "", false}), "1000\n");
  const auto missing = engine->exec(spec.id, {{"nothing"}, {}, "", "", false});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::command_not_found);
  EXPECT_EQ(exit_code_for(missing.error()), 127);
}

TEST_F(EngineTest, GivesAnExecATerminal) {
  const auto spec = shell("sleep 60");
  ASSERT_TRUE(engine->start(spec));
  ExecSpec command;
  command.argv = {"sh", "-c",
                  "tty; test -t 0 && test -t 1 && echo terminal $TERM; exec cat < /dev/tty | head -c0"};
  command.argv[2] = "tty; test -t 0 && test -t 1 && echo terminal $TERM; : < /dev/tty && echo controlling";
  command.tty = true;
  EXPECT_EQ(exec(spec.id, command), "/dev/pts/0\r\nterminal xterm\r\ncontrolling\r\n");
}

// The attack: a container's process takes leases on programs (and never gives them back), so that whoever
// executes them waits for lease-break-time, 45 s. `patched` is a program whose interpreter is leased, which
// nobody sees before the kernel opens it.
TEST_F(EngineTest, ALeaseOnAProgramDelaysNobody) {
  const auto started = engine->start(shell(R"sh(
    cat /usr/bin/cat > /leased
    loader=$(perl -0777 -ne 'print $1 if m{(/lib[^\0]*/ld-[^\0]*)\0}' /usr/bin/cat)
    other=$(echo "$loader" | head -c -2)x
    cat "$loader" > "$other"
    perl -0777 -pe 's{(/lib[^\0]*/ld-[^\0]*)[^\0]\0}{${1}x\0}' /usr/bin/cat > /patched
    chmod 755 /leased /patched "$other"
    printf '#!/leased\n' > /script; chmod 755 /script
    exec perl -e '$SIG{IO} = "IGNORE"; for (@ARGV) { open($f{$_}, "<", $_) or die; fcntl($f{$_}, 1024, 1) or die "$_: $!" }
                  $| = 1; print "leased\n"; sleep 1000' /leased "$other"
  )sh"));
  ASSERT_TRUE(started) << started.error().message();
  const std::string id = started->status.id;
  ASSERT_TRUE(eventually([&] { return log(id) == "leased\n"; })) << log(id, "stderr");
  for (const char* program : {"/leased", "/script", "/patched"}) {
    ExecSpec spec;
    spec.argv = {program, "/etc/passwd"};
    const auto began = std::chrono::steady_clock::now();
    const auto entered = engine->exec(id, spec);
    EXPECT_LT(std::chrono::steady_clock::now() - began, 20s) << program;
    ASSERT_FALSE(entered) << program;
    EXPECT_EQ(entered.error().code, Code::command_not_executable) << program;
    EXPECT_NE(entered.error().message().find("lease"), std::string::npos) << entered.error().message();
  }
  // The timer that ended the wait is not the program's: one that lives longer is not interrupted.
  ExecSpec sleeping;
  sleeping.argv = {"sh", "-c", "sleep 1.5; echo lived"};
  EXPECT_EQ(exec(id, sleeping), "lived\n");
}

TEST_F(EngineTest, KillsAnExecAndStopsWhileOneRuns) {
  const auto spec = shell("sleep 60");
  ASSERT_TRUE(engine->start(spec));
  auto first = engine->exec(spec.id, {{"sleep", "60"}, {}, "", "", false});
  ASSERT_TRUE(first);
  EXPECT_TRUE(engine->kill_exec(first->id, SIGKILL));
  ASSERT_TRUE(os::pidfd_wait(first->pidfd.get(), 10s).value_or(false));
  EXPECT_EQ(engine->finish_exec(first->id).value(), 137);
  auto second = engine->exec(spec.id, {{"sleep", "60"}, {}, "", "", false});
  ASSERT_TRUE(second);
  EXPECT_EQ(engine->stop(spec.id, 0ms)->exit_code, 137);
  EXPECT_EQ(engine->finish_exec(second->id).value(), 137);
}

TEST_F(EngineTest, AdoptsWhatAnEarlierEngineStarted) {
  const auto spec = shell("echo before; while ! test -e /tmp/go; do sleep 0.01; done; echo after; exit 9");
  const auto started = engine->start(spec);
  ASSERT_TRUE(started);
  const auto ended = run(shell("exit 4"));
  ASSERT_TRUE(eventually([&] { return log(spec.id) == "before\n"; }));
  reopen();
  const auto adopted = engine->adopt();
  ASSERT_TRUE(adopted);
  ASSERT_EQ(adopted->size(), 1u);
  EXPECT_EQ(adopted->front().status.pid, started->status.pid);
  EXPECT_EQ(engine->status(ended.id)->exit_code, 4);
  EXPECT_EQ(exec(spec.id, {{"touch", "/tmp/go"}, {}, "", "", false}), "");
  EXPECT_EQ(wait(adopted->front()).exit_code, 9);
  EXPECT_EQ(log(spec.id), "before\nafter\n");
}

// Pids and start times come back after a reboot. The process that has both here lives outside of the
// container's cgroup, as any other program of the machine.
TEST_F(EngineTest, TakesNoProcessOfThisBootForOneOfAnEarlierBoot) {
  const auto spec = shell("sleep 60");
  const auto started = engine->start(spec);
  ASSERT_TRUE(started);
  kill_unseen(*started);
  const pid_t other = ::fork();
  if (other == 0) {
    ::pause();
    ::_exit(0);
  }
  const Bundle bundle(data / "containers" / spec.id);
  auto state = bundle.read<BundleState>(kStateFile).value();
  state.pid = other;
  state.start_time = os::process_start_time(other).value();
  const std::string this_boot = std::exchange(state.boot_id, "0b0e8cf1-6a4c-4f0c-9d3e-2f1d35a4c1aa");
  ASSERT_TRUE(bundle.write(kStateFile, state));
  reopen();
  EXPECT_TRUE(engine->adopt().value().empty());
  EXPECT_EQ(engine->status(spec.id)->state, ContainerState::lost);
  EXPECT_EQ(::kill(other, 0), 0) << "it is not ours to end";

  // The same files with the present boot's id: then it would be the container.
  std::filesystem::remove(bundle.file(kExitFile));
  state.boot_id = this_boot;
  ASSERT_TRUE(bundle.write(kStateFile, state));
  reopen();
  EXPECT_EQ(engine->adopt().value().size(), 1u);
  engine.reset();
  ::kill(other, SIGKILL);
  ASSERT_EQ(::waitpid(other, nullptr, 0), other);
}

TEST_F(EngineTest, LearnsTheExitOfAnOrphanFromItsParent) {
  const auto spec = shell("while ! test -e /tmp/go; do sleep 0.01; done; exit 7");
  const auto started = engine->start(spec);
  ASSERT_TRUE(started);
  const pid_t pid = started->status.pid;
  exec(spec.id, {{"touch", "/tmp/go"}, {}, "", "", false});
  engine.reset();
  // The test is the parent here, as the supervisor would be.
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(
      record_exit(Paths::under(data), pid, os::process_start_time(pid).value(), info.si_status << 8).value());
  EXPECT_FALSE(record_exit(Paths::under(data), pid, 1, 0).value());
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  reopen();
  EXPECT_TRUE(engine->adopt().value().empty());
  EXPECT_EQ(engine->status(spec.id)->exit_code, 7);
}

TEST_F(EngineTest, AdoptsTheChildOfAnotherProcess) {
  const auto spec = shell("while ! test -e /tmp/go; do sleep 0.01; done; echo two; exit 7");
  engine.reset();
  const pid_t launcher = ::fork();
  if (launcher == 0) {  // dies without a word, as by kill -9
    auto other = Engine::open(Paths::under(data));
    const bool started = other && (*other)->start(spec);
    ::_exit(started ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(launcher, &status, 0), launcher);
  ASSERT_EQ(status, 0);
  reopen();
  const auto adopted = engine->adopt();
  ASSERT_TRUE(adopted);
  ASSERT_EQ(adopted->size(), 1u);
  exec(spec.id, {{"touch", "/tmp/go"}, {}, "", "", false});
  ASSERT_TRUE(os::pidfd_wait(adopted->front().pidfd.get(), 10s).value());
  // Its parent now is the machine's init, which tells nobody; here the supervisor would call record_exit.
  ASSERT_TRUE(record_exit(Paths::under(data), adopted->front().status.pid,
                          Bundle(data / "containers" / spec.id).read<BundleState>(kStateFile)->start_time,
                          7 << 8)
                  .value());
  const auto settled = engine->settle(spec.id);
  ASSERT_TRUE(settled);
  EXPECT_EQ(settled->exit_code, 7);
  EXPECT_EQ(log(spec.id), "two\n");
}

TEST_F(EngineTest, CallsAContainerLostWhenNobodyKnowsItsExit) {
  const auto spec = shell("sleep 60");
  const auto started = engine->start(spec);
  ASSERT_TRUE(started);
  kill_unseen(*started);
  std::filesystem::create_directories(data / "containers" / "half-made" / "upper");
  reopen();
  EXPECT_TRUE(engine->adopt().value().empty());
  EXPECT_EQ(engine->status(spec.id)->state, ContainerState::lost);
  EXPECT_FALSE(std::filesystem::exists(data / "containers" / "half-made"));
}

TEST_F(EngineTest, MountsVolumesCheckoutsAndMemory) {
  std::filesystem::create_directories(data / "checkouts/shop/config");
  std::ofstream(data / "checkouts/shop/config/app.conf") << "checked out\n";
  auto spec = shell(
      "cat /etc/app.conf; echo x > /etc/app.conf; echo kept > /var/data/file; stat -c '%u %a' /var/data; "
      "echo y > /run/scratch/y && cat /run/scratch/y;"
      "ls /deep/er; touch /deep/er/mine");
  spec.mounts = {{MountKind::volume, "shop.production.data", "/var/data", false, 0},
                 {MountKind::bind, data / "checkouts/shop/config/app.conf", "/etc/app.conf", true, 0},
                 {MountKind::bind, data / "checkouts/shop/config", "/deep/er", false, 0},
                 {MountKind::tmpfs, "", "/run/scratch", false, 1 << 20}};
  const auto status = run(spec);
  EXPECT_EQ(log(status.id), "checked out\n1000 750\ny\napp.conf\n");
  const std::string refused = log(status.id, "stderr");
  EXPECT_NE(refused.find("/etc/app.conf: Read-only file system"), std::string::npos) << refused;
  EXPECT_NE(refused.find("'/deep/er/mine': Read-only file system"), std::string::npos)
      << "a checkout is built from again: " << refused;
  EXPECT_EQ(os::read_file(data / "volumes/shop.production.data/file", 100).value(), "kept\n");
}

TEST_F(EngineTest, RefusesBindsThatLeaveTheCheckouts) {
  std::filesystem::create_directories(data / "checkouts/shop");
  std::filesystem::create_directory_symlink("/etc", data / "checkouts/shop/link");
  for (const std::string& source : {std::string("/etc"), (data / "checkouts/shop/link").native(),
                                    (data / "checkouts/shop/link/passwd").native(),
                                    (data / "checkouts").native(), (data / "checkouts-other").native()}) {
    auto spec = shell("true");
    spec.mounts = {{MountKind::bind, source, "/mnt", true, 0}};
    const auto started = engine->start(spec);
    ASSERT_FALSE(started) << source;
    EXPECT_EQ(started.error().code, Code::forbidden) << source;
  }
}

TEST_F(EngineTest, KeepsMountsInsideARootFullOfLinks) {
  const Digest trap = Digest::of_sha256("trap");
  const auto layer = data / "layers" / trap.hex();
  std::filesystem::create_directories(layer / "inside");
  std::filesystem::create_symlink("../../../../../../inside", layer / "out");
  std::filesystem::create_symlink("/tmp", layer / "absolute");
  const std::string own = data.filename().native() + "-w";  // nobody else has it in the machine's /tmp
  auto spec = shell("grep -c -E ' /inside/v | /tmp/" + own + " ' /proc/self/mountinfo");
  spec.layers.push_back(trap);
  spec.mounts = {{MountKind::volume, "a", "/out/v", false, 0},
                 {MountKind::volume, "b", "/absolute/" + own, false, 0}};
  const auto status = run(spec);
  EXPECT_EQ(log(status.id), "2\n");
  EXPECT_FALSE(std::filesystem::exists("/tmp/" + own));
}

TEST_F(EngineTest, RefusesAnImageWhoseProcIsALink) {
  const Digest trap = Digest::of_sha256("proc trap");
  const auto layer = data / "layers" / trap.hex();
  std::filesystem::create_directories(layer / "fake");
  std::filesystem::create_symlink("/fake", layer / "proc");
  auto spec = shell("true");
  spec.layers.push_back(trap);
  const auto started = engine->start(spec);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message().find("/proc"), std::string::npos) << started.error().message();
}

TEST_F(EngineTest, KeepsAReadOnlyRootUnchanged) {
  auto spec = shell("touch /x; touch /var/data/ok && ls /var/data; touch /tmp/x");
  spec.read_only_root = true;
  spec.mounts = {{MountKind::volume, "v", "/var/data", false, 0}};
  const auto status = run(spec);
  EXPECT_EQ(log(status.id), "ok\n");
  EXPECT_NE(log(status.id, "stderr").find("Read-only file system"), std::string::npos);
}

TEST_F(EngineTest, KeepsABuildsOverlayAndItsOutput) {
  const auto overlay = data / "build-1";
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  auto spec = shell("echo made > /result; cat /etc/host-file");
  spec.parent_cgroup = "builds";
  std::ofstream(data / "host-file") << "from the host\n";
  StartOptions options;
  options.overlay = overlay;
  options.output_fd = writer.get();
  options.host_mounts = {{data / "host-file", "/etc/host-file", true}};
  EXPECT_EQ(run(spec, options).exit_code, 0);
  writer.reset();
  EXPECT_EQ(os::read_fd(reader.get(), 1000, "output").value(), "from the host\n");
  EXPECT_TRUE(engine->remove(spec.id));
  EXPECT_EQ(os::read_file(overlay / "upper/result", 100).value(), "made\n");
  for (const char* placeholder : {"etc/host-file", "etc/resolv.conf", "etc/hostname", "proc", "dev"})
    EXPECT_FALSE(std::filesystem::exists(overlay / "upper" / placeholder)) << placeholder;
  auto next = shell("cat /result");
  options.output_fd = -1;
  EXPECT_EQ(run(next, options).exit_code, 0);
  EXPECT_EQ(log(next.id), "made\n");
}

TEST_F(EngineTest, RefusesSpecsItDoesNotUnderstand) {
  const auto code = [&](auto change) {
    auto spec = shell("true");
    change(spec);
    const auto result = validate(spec);
    EXPECT_FALSE(result);
    return result ? Code::internal : result.error().code;
  };
  for (const char* id : {"", "../up", "A", "a/b", ".a", "a b"})
    EXPECT_EQ(code([&](auto& s) { s.id = id; }), Code::invalid_argument) << id;
  EXPECT_EQ(code([](auto& s) { s.argv.clear(); }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& s) { s.argv = {std::string("a\0b", 3)}; }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& s) { s.env = {"NOEQUALS"}; }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& s) { s.env.assign(10000, "A=b"); }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& s) { s.cwd = "relative"; }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& s) { s.cwd = "/a/../../b"; }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& s) { s.stop_signal = "SIGNOTHING"; }), Code::invalid_argument);
  for (const char* name : {"-db", ".db", "a b", "a\nb", "a/b",
                           "0123456789012345678901234567890123456789012345678901234567890123"})
    EXPECT_EQ(code([&](auto& s) { s.hostname = name; }), Code::invalid_argument) << name;
  EXPECT_EQ(code([](auto& s) { s.cap_add = {"SYS_ADMIN"}; }), Code::forbidden);
  EXPECT_EQ(code([](auto& s) { s.cap_add = {"ALL"}; }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& s) { s.parent_cgroup = "../x"; }), Code::invalid_argument);
  EXPECT_EQ(code([](auto& s) { s.layers.assign(500, layer_digest()); }), Code::invalid_argument);
  for (const char* target : {"/", "/proc", "/proc/self", "/sys/fs/cgroup", "/dev", "/dev/null"})
    EXPECT_EQ(code([&](auto& s) { s.mounts = {{MountKind::tmpfs, "", target, false, 0}}; }), Code::forbidden)
        << target;
  EXPECT_EQ(code([](auto& s) { s.mounts = {{MountKind::volume, "../../etc", "/x", false, 0}}; }),
            Code::invalid_argument);
}

TEST_F(EngineTest, TakesHostNamesAsPeopleWriteThem) {
  for (const char* name : {"DB01", "db.internal", "1st"}) {
    auto spec = shell("true");
    spec.hostname = name;
    EXPECT_TRUE(validate(spec)) << name;
  }
}

TEST_F(EngineTest, NamesTheLayerThatIsMissing) {
  auto spec = shell("true");
  spec.layers.push_back(Digest::of_sha256("missing"));
  const auto started = engine->start(spec);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::not_found);
  EXPECT_NE(started.error().message().find("sha256:"), std::string::npos);
}

TEST_F(EngineTest, LetsOneEngineWorkOnAFolder) {
  const auto second = Engine::open(Paths::under(data));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict);
}

TEST_F(EngineTest, StartsManyAtOnceFromManyThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  std::vector<ContainerSpec> specs;
  for (int i = 0; i < 16; ++i) specs.push_back(shell(fmt::format("exit {}", i)));
  for (const ContainerSpec& spec : specs)
    threads.emplace_back([&, spec] {
      auto started = engine->start(spec);
      if (started && os::pidfd_wait(started->pidfd.get(), 20s).value_or(false) &&
          engine->settle(spec.id)->exit_code == std::stoi(spec.argv[2].substr(5)))
        ++good;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 16);
}

TEST_F(EngineTest, ReportsWhatAContainerUses) {
  auto spec = shell("sleep 60");
  spec.resources.memory_bytes = 64 << 20;
  ASSERT_TRUE(engine->start(spec));
  const auto stats = engine->stats(spec.id);
  ASSERT_TRUE(stats);
  EXPECT_EQ(stats->memory_limit, 64U << 20);
  EXPECT_GE(stats->pids, 1u);
  EXPECT_EQ(engine->stats("unknown").error().code, Code::not_found);
}

// Compose files are let through by the same list: what it holds must start.
TEST(Capabilities, AllThatAPushLetsThroughAreGranted) {
  ContainerSpec spec;
  spec.cap_drop = {"ALL"};
  for (const std::string_view name : kContainerCapabilities) spec.cap_add.emplace_back(name);
  const auto set = capabilities_of(spec);
  ASSERT_TRUE(set) << set.error().message();
  EXPECT_EQ(*set, *capabilities_of({}));
  EXPECT_NE(*set, 0U);
  spec.cap_add = {"MKNOD"};
  EXPECT_EQ(capabilities_of(spec).error().code, Code::forbidden);
}

}  // namespace
}  // namespace naru::container
