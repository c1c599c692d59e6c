"""What an image and the compose file say of a container is what the program in it meets: it prints what it sees."""
import re
import unittest

import naru
import small

SHOW = r"""use strict; use warnings; use POSIX ();
$| = 1;
sub sees { my ($key, $value) = @_; print "sees $key $value\n" }
sub text { my ($path) = @_; open(my $file, '<', $path) or return "no: $!"; local $/; my $all = <$file>; $all =~ s/\s+$//; return $all }
sub writes { my ($path) = @_; open(my $file, '>', $path) or return "no: $!"; print $file 'x'; return 'yes' }
for my $name (qw(TERM INT QUIT USR1)) { $SIG{$name} = sub { sees('signal', $name); exit 0 } }
sees('arguments', join('|', @ARGV));
sees('user', "$<:" . ($( + 0));
sees('folder', readlink('/proc/self/cwd'));
sees('hostname', (POSIX::uname())[1]);
sees('hostname_file', text('/etc/hostname'));
sees('root', writes('/probe'));
sees('scratch', writes('/scratch/probe'));
sees('settings', text('/etc/settings/colour'));
sees('settings_written', writes('/etc/settings/probe'));
for my $name (qw(OF_IMAGE OF_FILE OF_COMPOSE IN_ALL IN_FILES)) { sees($name, $ENV{$name} // 'nothing') }
for (split /\n/, text('/proc/self/status')) { sees('bounding', hex($1)) if /^CapBnd:\s*(\w+)/ }
for (split /\n/, text('/proc/self/mounts')) { sees('scratch_mount', "$1 $2") if m{^\S+ /scratch (\S+) (\S+)} }
sees('all', 'told');
sleep 1 while 1;
"""

DOCKERFILE = """FROM debian:bookworm-slim
COPY show.pl /app/show.pl
ENV OF_IMAGE=image IN_ALL=image
WORKDIR /app
USER www-data
ENTRYPOINT ["perl", "/app/show.pl", "image"]
CMD ["of", "the image"]
STOPSIGNAL SIGINT
"""

COMPOSE = """services:
  plain:
    build: .
  command:
    build: .
    command: ["of", "the file"]
    stop_signal: QUIT
  told:
    build: .
    entrypoint: ["perl", "/app/show.pl", "file"]
    user: "1234:5678"
    stop_signal: SIGUSR1
    working_dir: /srv
    hostname: bellevue
    read_only: true
    tmpfs: ["/scratch:size=8m"]
    env_file: [one.env, { path: two.env }, { path: absent.env, required: false }]
    environment: { OF_COMPOSE: compose, IN_ALL: compose }
    volumes: ["./settings:/etc/settings"]
    cap_drop: [NET_RAW, CAP_CHOWN]
"""

CAP_CHOWN, CAP_KILL, CAP_NET_RAW = 0, 5, 13


class Settings(naru.Case):
    @classmethod
    def prepare(cls):
        cls.app = naru.App(cls.platform, "shown", {
            "compose.yaml": COMPOSE + small.QUICK, "Dockerfile": DOCKERFILE, "show.pl": SHOW, "settings/colour": "green\n",
            "one.env": "OF_FILE=one\nIN_FILES=one\n", "two.env": "IN_FILES=two\nIN_ALL=file\n"})
        cls.app.push()
        cls.app.wait_live(1)
        cls.seen = {name: naru.wait_until(lambda name=name: (seen := cls.sees(name)) and "all" in seen and seen, f"{name} has told all") for name in ("plain", "command", "told")}

    @classmethod
    def sees(cls, service):
        said = cls.platform.naru("logs", f"shown/{service}", "-n", "100").stdout
        return dict(re.findall(r"\bsees (\w+) (.*)$", said, re.M))

    def test_1_the_image_decides_where_the_file_says_nothing(self):
        plain = self.seen["plain"]
        self.assertEqual(plain["arguments"], "image|of|the image")
        self.assertEqual(plain["user"], "33:33")
        self.assertEqual(plain["folder"], "/app")
        self.assertEqual((plain["OF_IMAGE"], plain["IN_ALL"], plain["OF_FILE"], plain["OF_COMPOSE"]), ("image", "image", "nothing", "nothing"))
        self.assertEqual(plain["hostname"], self.app.instances("plain")[0]["id"])
        self.assertEqual(plain["hostname_file"], plain["hostname"])

    def test_2_a_command_of_the_file_stands_behind_the_images_entrypoint(self):
        self.assertEqual(self.seen["command"]["arguments"], "image|of|the file")

    def test_3_an_entrypoint_of_the_file_drops_the_images_command(self):
        self.assertEqual(self.seen["told"]["arguments"], "file")

    def test_4_user_folder_and_host_name_of_the_file_win(self):
        told = self.seen["told"]
        self.assertEqual((told["user"], told["folder"], told["hostname"], told["hostname_file"]), ("1234:5678", "/srv", "bellevue", "bellevue"))

    def test_5_variables_of_the_file_win_over_its_env_files_and_these_over_the_image(self):
        told = self.seen["told"]
        self.assertEqual({name: told[name] for name in ("OF_IMAGE", "OF_FILE", "OF_COMPOSE", "IN_FILES", "IN_ALL")},
                         {"OF_IMAGE": "image", "OF_FILE": "one", "OF_COMPOSE": "compose", "IN_FILES": "two", "IN_ALL": "compose"})

    def test_6_a_read_only_root_is_that_and_tmpfs_is_writable_in_its_bound(self):
        plain, told = self.seen["plain"], self.seen["told"]
        self.assertEqual((plain["root"], plain["scratch"]), ("no: Permission denied", "no: No such file or directory"), "the user alone keeps it out")
        self.assertEqual((told["root"], told["scratch"]), ("no: Read-only file system", "yes"))
        kind, options = told["scratch_mount"].split()
        self.assertEqual(kind, "tmpfs")
        self.assertIn("size=8192k", options.split(","))
        self.assertNotIn("scratch_mount", plain)

    def test_7_a_folder_of_the_commit_is_there_to_be_read(self):
        told = self.seen["told"]
        self.assertEqual((told["settings"], told["settings_written"]), ("green", "no: Read-only file system"))
        self.assertRegex(self.seen["plain"]["settings"], "^no: No such file")

    def test_8_dropped_capabilities_are_out_of_reach_and_the_others_stay(self):
        bounding = {name: {bit for bit in (CAP_CHOWN, CAP_KILL, CAP_NET_RAW) if int(seen["bounding"]) >> bit & 1} for name, seen in self.seen.items()}
        self.assertEqual(bounding, {"plain": {CAP_CHOWN, CAP_KILL, CAP_NET_RAW}, "command": {CAP_CHOWN, CAP_KILL, CAP_NET_RAW}, "told": {CAP_KILL}})

    def test_9_each_is_stopped_by_the_signal_that_was_asked_for(self):
        for seen in self.seen.values():
            self.assertNotIn("signal", seen)
        self.platform.naru("app", "stop", "shown")
        naru.wait_until(lambda: not [i for i in self.app.instances() if i["pid"]], "all are stopped")
        self.assertEqual({name: self.sees(name).get("signal") for name in self.seen}, {"plain": "INT", "command": "QUIT", "told": "USR1"})


if __name__ == "__main__":
    unittest.main()
