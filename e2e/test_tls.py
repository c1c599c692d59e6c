"""Control for other machines: TLS with a certificate of an authority that the test makes. A network namespace is the other machine;
curl, git, openssl, Python's ssl and `naru` itself are the peers, and every one of them verifies what it is shown."""
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import naru
import small

HOST, THERE = "10.213.77.1", "10.213.77.2"  # this machine and the other one, on the link between them


class Authority:
    """Who signs certificates in this test."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "ca.pem"
        self.key = folder / "ca.key"
        naru.run(["openssl", "req", "-x509", *self.fresh(self.key), "-subj", "/CN=Test authority", "-days", "3", "-out", self.file,
                  "-addext", "keyUsage=critical,keyCertSign"])

    @staticmethod
    def fresh(key):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key]

    def sign(self, name, names=f"DNS:localhost,DNS:naru.test,IP:127.0.0.1,IP:{HOST}", days=60):
        """(certificate, key), which root alone may read."""
        certificate, key, request = (self.folder / f"{name}.{ending}" for ending in ("pem", "key", "csr"))
        naru.run(["openssl", "req", *self.fresh(key), "-subj", "/CN=Naru", "-addext", f"subjectAltName={names}", "-out", request])
        naru.run(["openssl", "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key, "-CAcreateserial",
                  "-copy_extensions", "copy", "-days", days, "-out", certificate])
        key.chmod(0o600)
        return certificate, key


class OtherMachine:
    """A network namespace with one link to this machine."""

    def __init__(self, port):
        self.port = port
        self.name = f"naru-tls-{os.getpid()}"
        self.link = f"ntls{os.getpid()}"[:15]
        naru.run(["ip", "netns", "add", self.name])
        naru.run(["ip", "link", "add", self.link, "type", "veth", "peer", "name", "up0", "netns", self.name])
        naru.run(["ip", "address", "add", f"{HOST}/30", "dev", self.link])
        naru.run(["ip", "link", "set", self.link, "up"])
        for words in (["address", "add", f"{THERE}/30", "dev", "up0"], ["link", "set", "up0", "up"], ["link", "set", "lo", "up"]):
            naru.run(["ip", "-n", self.name, *words])

    def argv(self, *words):
        return ["ip", "netns", "exec", self.name, *words]

    def remove(self):
        naru.run(["ip", "link", "delete", self.link], check=False)
        naru.run(["ip", "netns", "delete", self.name], check=False)


class Tls(naru.Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="naru-e2e-tls-"))
        cls.folder.chmod(0o755)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.authority = Authority(cls.folder)
        cls.certificate, cls.key = cls.authority.sign("served")
        cls.tls_port = naru.free_port()
        cls.up_options = ("--tls-listen", f":{cls.tls_port}", "--tls-cert", cls.certificate, "--tls-key", cls.key)
        super().setUpClass()

    @classmethod
    def prepare(cls):
        cls.there = OtherMachine(cls.tls_port)
        cls.addClassCleanup(cls.there.remove)
        cls.token = cls.platform.naru_json("token", "create", "elsewhere")["token"]
        cls.elsewhere = {k: v for k, v in cls.platform.env.items() if k != "NARU_DATA" and not k.startswith("GIT_")} | {
            "NARU_URL": f"https://{HOST}:{cls.tls_port}", "NARU_TOKEN": cls.token, "NARU_CA": str(cls.authority.file),
            "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(cls.folder),
            "no_proxy": "*", "NO_PROXY": "*"}

    # ---- peers

    def curl(self, path, *options, base=None, check=True):
        return naru.run(["curl", "-sS", "-m", "60", "--noproxy", "*", "--cacert", self.authority.file, *options,
                         (base or f"https://localhost:{self.tls_port}") + path], check=check)

    def with_token(self, path, *options, **more):
        return self.curl(path, "-H", f"Authorization: Bearer {self.token}", *options, **more)

    def s_client(self, *options):
        return naru.run(["openssl", "s_client", "-connect", f"localhost:{self.tls_port}", "-servername", "naru.test", "-CAfile", self.authority.file,
                         "-verify_return_error", "-verify_hostname", "naru.test", *options], check=False, input="").stdout

    def from_there(self, *words, cwd=None, check=True, timeout=120, **environment):
        return naru.run(self.there.argv(*words), cwd=cwd or self.folder, env=self.elsewhere | environment, check=check, timeout=timeout)

    def naru_there(self, *words, **options):
        return self.from_there(naru.NARU, *words, **options)

    def context(self):
        return ssl.create_default_context(cafile=self.authority.file)

    def connect(self, name="localhost"):
        raw = socket.create_connection(("127.0.0.1", self.tls_port), 60)
        return self.context().wrap_socket(raw, server_hostname=name)

    def serial_shown(self):
        with self.connect() as connection:
            return int(connection.getpeercert()["serialNumber"], 16)

    @staticmethod
    def serial_of(file):
        return int(naru.run(["openssl", "x509", "-in", file, "-noout", "-serial"]).stdout.partition("=")[2], 16)

    def doctor(self):
        return {check["name"]: check for check in self.platform.api("GET", "/v1/doctor")["checks"]}

    # ---- what is shown and what is asked for

    def test_curl_verifies_the_certificate_and_control_the_token(self):
        self.assertIn("no token was given", self.curl("/v1/version").stdout)
        self.assertEqual(json.loads(self.with_token("/v1/version").stdout)["https"], f"https://localhost:{self.tls_port}")
        nobody = naru.run(["curl", "-sS", "--noproxy", "*", f"https://localhost:{self.tls_port}/"], check=False)
        self.assertEqual(nobody.returncode, 60, nobody.stdout)
        other_name = self.with_token("/", "--connect-to", f"evil.test:443:localhost:{self.tls_port}", base="https://evil.test", check=False)
        self.assertEqual(other_name.returncode, 60, other_name.stdout)

    def test_only_hosts_that_the_certificate_names_are_answered(self):
        by_name = self.with_token("/v1/version", "--resolve", f"naru.test:{self.tls_port}:127.0.0.1", base=f"https://naru.test:{self.tls_port}")
        self.assertIn('"version"', by_name.stdout)
        for host in ("evil.test", "localhost.evil.test", "127.0.0.2"):
            self.assertIn("is not a name of this Naru", self.with_token("/v1/version", "-H", f"Host: {host}").stdout, host)
        # The plain port on loopback is asked by the names that it always had, and by no other.
        plain = self.with_token("/v1/version", "-H", "Host: naru.test", base=self.platform.url(""))
        self.assertIn("ask for localhost", plain.stdout)

    def test_plain_http_is_told_to_use_tls(self):
        answer = self.curl("/v1/version", "-D", "-", base=f"http://localhost:{self.tls_port}").stdout
        self.assertRegex(answer, r"^HTTP/1.1 400 ")
        self.assertIn("ask for https:// instead of http://", answer)

    def test_openssl_finds_what_is_modern_and_nothing_else(self):
        for version in ("-tls1_2", "-tls1_3"):
            said = self.s_client(version, "-alpn", "http/1.1")
            self.assertIn("Verify return code: 0 (ok)", said)
            self.assertIn("ALPN protocol: http/1.1", said)
        self.assertIn("no application protocol", self.s_client("-alpn", "h2"))
        self.assertIn("alert protocol version", self.s_client("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"))
        self.assertIn("handshake failure", self.s_client("-tls1_2", "-cipher", "AES256-SHA"))

    # ---- from another machine

    def test_a_repository_elsewhere_is_connected_and_pushed(self):
        work = self.folder / "shop"
        work.mkdir()
        for name, text in small.web_only(naru.free_port()).items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        (work / "much").write_bytes(os.urandom(24 << 20))  # a body that is streamed
        git = lambda *words, **options: self.from_there("git", *words, **options)
        git("init", "-q", "-b", "main", cwd=work)
        git("config", "user.name", "Test", cwd=work), git("config", "user.email", "test@example.com", cwd=work)
        git("add", "-A", cwd=work), git("commit", "-q", "-m", "first", cwd=work)
        made = json.loads(self.naru_there("app", "create", "shop", "--json", cwd=work).stdout)
        url = f"https://{HOST}:{self.tls_port}/git/shop.git"
        self.assertEqual((made["remote_url"], made["git_url"]), (url, url))
        # Without what `naru` sets below, by git alone: the repository's own configuration must do.
        alone = {"NARU_URL": "", "NARU_TOKEN": "", "NARU_CA": ""}
        git("push", "naru", "main", cwd=work, timeout=300, **alone)
        self.wait_live("shop", 1)
        distrusting = git("-c", f"http.{url}.sslCAInfo=/etc/ssl/certs/ca-certificates.crt", "ls-remote", "naru", cwd=work, check=False, **alone)
        self.assertNotEqual(distrusting.returncode, 0)
        self.assertRegex(distrusting.stdout, "(?i)certificate")

        clone = self.folder / "clone"
        git("clone", "-q", str(work), str(clone))
        git("config", "user.name", "Test", cwd=clone), git("config", "user.email", "test@example.com", cwd=clone)
        self.assertIn(url, self.naru_there("app", "connect", "shop", cwd=clone).stdout)
        self.assertIn("note: GIT_SSL_CAINFO is set", self.naru_there("app", "connect", "shop", cwd=clone, GIT_SSL_CAINFO="/etc/ssl/certs/ca-certificates.crt").stdout)
        git("commit", "-q", "--allow-empty", "-m", "second", cwd=clone)
        git("push", "naru", "main", cwd=clone, timeout=300, **alone)
        self.assertEqual(git("ls-remote", "naru", "main", cwd=work, **alone).stdout.split()[0], git("rev-parse", "HEAD", cwd=clone).stdout.strip())

        self.assertIn("shop", self.naru_there("status").stdout)
        echoed = naru.run(self.there.argv(naru.NARU, "exec", "-i", "shop/web", "--", "sh", "-c", "cat; exit 7"), env=self.elsewhere,
                          check=False, input="over there\n" * 10000)
        self.assertEqual((echoed.returncode, echoed.stdout), (7, "over there\n" * 10000))
        self.follow("logs", "-f", "shop/web", says="listens on 8080")
        # A listener on every address of the machine is none for containers.
        probe = f"use IO::Socket::INET; print IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => {self.tls_port}, Timeout => 5) ? 'reached' : 'not reached'"
        gateway = self.naru_there("exec", "shop/web", "--", "perl", "-ne", "print join '.', reverse map hex, /(..)(..)(..)(..)/ if (split)[1] eq '00000000' && ($_ = (split)[2])", "/proc/net/route").stdout.strip()
        for address in (HOST, gateway):
            self.assertEqual(naru.run(["perl", "-e", probe, address]).stdout, "reached", address)
            self.assertEqual(self.naru_there("exec", "shop/web", "--", "perl", "-e", probe, address).stdout, "not reached", address)
        self.follow("events", "-f", "shop", says="shop")

    def wait_live(self, app, version):
        naru.wait_until(lambda: (self.platform.api("GET", f"/v1/apps/{app}/status")["stable"] or {}).get("version") == version, f"{app} v{version} is live", 180)

    def follow(self, *words, says):
        """An answer without an end says something, and ends with its reader."""
        with subprocess.Popen(self.there.argv(naru.NARU, *words), env=self.elsewhere, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as program:
            watchdog = threading.Timer(60, program.kill)
            watchdog.start()
            try:
                self.assertTrue(any(says in line for line in program.stdout), f"{words} never said {says!r}")
            finally:
                watchdog.cancel()
                program.kill()

    def test_the_command_line_says_why_it_does_not_get_through(self):
        def said(**environment):
            done = self.naru_there("ps", check=False, **environment)
            self.assertEqual(done.returncode, 1, done.stdout)
            return done.stdout
        self.assert_says(said(NARU_CA=""), "signed by nobody who is trusted here", "hint: .*NARU_CA=FILE")
        self.assert_says(said(NARU_CA=str(self.key)), "NARU_CA: ", "hint: name a PEM file")
        self.assert_says(said(NARU_TOKEN="naru_wrong"), "the token is not valid")
        self.assert_says(said(NARU_URL=f"http://{HOST}:{self.tls_port}"), "would go over the network in clear", "hint: use https")
        naru.run(["ip", "address", "add", "10.213.77.9/32", "dev", self.there.link])
        naru.run(["ip", "-n", self.there.name, "route", "add", "10.213.77.9/32", "via", HOST])
        self.assert_says(said(NARU_URL=f"https://10.213.77.9:{self.tls_port}"), rf"for another name: for localhost, naru.test, 127.0.0.1, {HOST}", "hint: ask for a name")
        # The plain port answers nobody but this machine.
        self.assert_says(said(NARU_URL=f"https://{HOST}:{self.platform.port}"), "cannot be reached")
        here = naru.run([naru.NARU, "ps"], env=self.elsewhere | {"NARU_URL": f"https://127.0.0.1:{self.platform.port}"}, check=False).stdout
        self.assert_says(here, "does not speak TLS", "--tls-listen")

    def test_the_console_is_logged_into_by_a_secure_cookie(self):
        opened = self.platform.naru("open").stdout
        self.assertIn(f"http://localhost:{self.platform.port}/login?code=", opened)
        path = re.search(rf"https://localhost:{self.tls_port}(/login\?code=\S+)", opened)[1]
        jar = self.folder / "cookies"
        answer = self.curl(path, "-D", "-", "-c", jar).stdout
        self.assertRegex(answer, r"(?i)set-cookie: naru_session=[^\n]*; HttpOnly; SameSite=Strict; [^\n]*; Secure")
        self.assertIn('"checks"', self.curl("/v1/doctor", "-b", jar).stdout)
        prune = ("/v1/prune", "-b", jar, "-X", "POST", "-H", "Content-Type: application/json", "-d", '{"dry_run": true}')
        self.assertIn('"dry_run"', self.curl(*prune, "-H", f"Origin: https://localhost:{self.tls_port}").stdout)
        for origin in ("https://evil.test", f"http://localhost:{self.tls_port}"):
            self.assertIn('"forbidden"', self.curl(*prune, "-H", f"Origin: {origin}").stdout, origin)
        # It works once, and the other link had the same code.
        self.assertIn("not valid", self.curl(path).stdout)

    # ---- strangers

    def test_a_stranger_who_holds_connections_locks_nobody_out(self):
        # Whom control closes a connection comes again.
        script = f"""
import select, socket, time
def hold():
    s = socket.socket(); s.settimeout(5); s.connect(({HOST!r}, {self.tls_port})); return s
held = [hold() for _ in range(300)]
print('held', flush=True)
end = time.monotonic() + 600
while time.monotonic() < end:
    for closed in select.select(held, [], [], 1)[0]:
        held.remove(closed); closed.close(); held.append(hold())
    time.sleep(0.05)
"""
        with subprocess.Popen(self.there.argv("python3", "-c", script), text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as stranger:
            try:
                self.assertEqual(stranger.stdout.readline(), "held\n")
                said = []
                naru.wait_until(lambda: said.append(self.naru_there("ps", check=False)) or said[-1].returncode != 0, "the stranger's machine is kept out")
                self.assert_says(said[-1].stdout, "control closed the connection", "as many connections of this machine as it takes")
                begun = time.monotonic()
                for _ in range(5):
                    self.assertIn('"version"', self.with_token("/v1/version").stdout)
                    self.assertIn('"version"', self.with_token("/v1/version", base=self.platform.url("")).stdout)
                    self.platform.api("GET", "/v1/version")
                self.assertLess(time.monotonic() - begun, 60)
            finally:
                stranger.kill()
        naru.wait_until(lambda: self.naru_there("ps", check=False).returncode == 0, "the stranger's own machine gets in again")

    # ---- renewal, and a restart of control

    def renew(self, certificate, key):
        for new, old in ((certificate, self.certificate), (key, self.key)):
            shutil.copy(new, f"{old}.new")
            os.replace(f"{old}.new", old)
        os.kill(self.platform.up.pid, signal.SIGHUP)

    def test_a_renewed_certificate_is_shown_without_a_restart(self):
        with self.connect() as before:
            def answered():
                before.sendall(f"GET /v1/version HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n\r\n".encode())
                return before.recv(65536).startswith(b"HTTP/1.1 200 ")
            self.assertTrue(answered())
            control = self.platform.pids()["control"]
            new = self.authority.sign("renewed")
            self.renew(*new)
            naru.wait_until(lambda: self.serial_shown() == self.serial_of(new[0]), "the new certificate is shown")
            self.assertTrue(answered(), "the connection that was there")
        self.assertTrue(self.doctor()["certificate"]["ok"])
        # One whose key is another's: the good one stays, and is told of.
        bad = self.authority.sign("bad")
        self.renew(bad[0], new[1])
        naru.wait_until(lambda: not self.doctor()["certificate"]["ok"], "the doctor tells of the bad one")
        self.assertRegex(self.doctor()["certificate"]["detail"], "is not the one of the certificate in")
        self.assertEqual(self.serial_shown(), self.serial_of(new[0]))
        # A restart of control finds the good one.
        self.platform.kill("control")
        self.platform.wait_answering()
        naru.wait_until(lambda: self.serial_shown() == self.serial_of(new[0]), "after a restart of control")
        self.assertFalse(self.doctor()["certificate"]["ok"], "the files are as bad as they were")
        # Mended without a signal: the files are looked at.
        shutil.copy(bad[1], self.key)
        naru.wait_until(lambda: self.serial_shown() == self.serial_of(bad[0]), "the mended pair is shown")
        self.assertTrue(self.doctor()["certificate"]["ok"])
        self.assertNotEqual(control, self.platform.pids()["control"])

    def test_no_connection_is_refused_while_control_is_killed(self):
        stop, outcomes = threading.Event(), []

        def ask():
            while not stop.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", self.tls_port), 60) as raw:
                        outcomes.append("accepted")
                        with contextlib.suppress(OSError), self.context().wrap_socket(raw, server_hostname="localhost") as connection:
                            connection.sendall(b"GET /v1/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                            if connection.recv(20).startswith(b"HTTP/1.1 401"):
                                outcomes.append("answered")
                except OSError as error:
                    outcomes.append(f"refused: {error}")
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for _ in range(3):
                self.platform.kill("control")
                # Asked while nobody is there to answer: it waits in the listener that the supervisor keeps.
                self.assertIn("no token was given", self.curl("/v1/version").stdout)
                self.platform.wait_answering()
        finally:
            stop.set()
            asking.join(120)
        self.assertEqual([o for o in outcomes if o.startswith("refused")], [])
        self.assertIn("answered", outcomes)

    # ---- what is refused at the start

    def test_what_cannot_be_served_is_refused_at_the_start(self):
        good = self.authority.sign("good")

        def refused(*options):
            done = naru.run([naru.NARU, "up", "--data", self.folder / "refused", "--port", str(naru.free_port()), "--gateway-port", str(naru.free_port()), *options],
                            env=self.platform.env, check=False)
            self.assertNotEqual(done.returncode, 0, done.stdout)
            self.assertFalse((self.folder / "refused/run").exists(), "nothing is made before that")
            return done.stdout
        self.assert_says(refused("--tls-listen", "0.0.0.0:7443"), "never in clear", "hint: .*--tls-cert FILE --tls-key FILE")
        self.assert_says(refused("--tls-cert", good[0]), "--tls-cert without --tls-listen")
        self.assert_says(refused("--tls-listen", "everywhere", "--tls-cert", good[0], "--tls-key", good[1]), "not an address with a port", "--tls-listen :7443")

    def test_half_a_renewal_and_a_reboot_stop_no_application(self):
        good, other = self.authority.sign("half"), self.authority.sign("other-half")
        key = self.folder / "key-of-half"
        shutil.copy(other[1], key)
        port = naru.free_port()
        platform = naru.Platform(up_options=("--tls-listen", f"127.0.0.1:{port}", "--tls-cert", str(good[0]), "--tls-key", str(key)))
        self.addCleanup(platform.destroy)
        platform.start(seed=False)
        why = f"the key in {key} is not the one of the certificate in {good[0]}"
        self.assertIn(why, platform.api("GET", "/v1/version")["https_refused"])
        naru.wait_until(lambda: why in (platform.work / "up.log").read_text(), "the banner says so")
        said = platform.naru("doctor", check=False)
        self.assertNotEqual(said.returncode, 0)
        self.assert_says(said.stdout, "certificate", "other machines are not served")
        with socket.create_connection(("127.0.0.1", port), 30) as raw:
            self.assertEqual(raw.recv(1), b"", "closed at once")
        with self.assertRaises(OSError, msg="only what was asked is opened"):
            socket.create_connection(("::1", port), 5).close()
        shutil.copy(good[1], key)
        naru.wait_until(lambda: platform.api("GET", "/v1/version")["https"] != "", "the mended pair is taken without a restart", 30)
        self.assertEqual(platform.api("GET", "/v1/version")["https_refused"], "")
        with socket.create_connection(("127.0.0.1", port), 60) as raw, self.context().wrap_socket(raw, server_hostname="localhost") as connection:
            self.assertEqual(int(connection.getpeercert()["serialNumber"], 16), self.serial_of(good[0]))

    def test_naru_starts_with_a_certificate_that_is_over_and_says_so(self):
        over = self.authority.sign("over", days=-1)
        platform = naru.Platform(up_options=("--tls-listen", f"127.0.0.1:{naru.free_port()}", "--tls-cert", str(over[0]), "--tls-key", str(over[1])))
        self.addCleanup(platform.destroy)
        platform.start(seed=False)
        said = platform.naru("doctor", check=False)
        self.assertNotEqual(said.returncode, 0)
        self.assert_says(said.stdout, "certificate")
