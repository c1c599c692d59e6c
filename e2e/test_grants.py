"""What the operator allows an application beyond its containers: refused until root says so on the machine, kept by the
launcher where control cannot write, taken back without stopping what runs."""
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import naru
import small

CAP_NET_ADMIN = 1 << 12
# As control's user, on the launcher's socket: a length of four bytes, then JSON.
ASK = r"""import json, os, socket, struct, sys
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[3])
body = sys.argv[4].encode(); s.sendall(struct.pack("<I", len(body)) + body)
stream = s.makefile("rb")
while True:
    answer = json.loads(stream.read(struct.unpack("<I", stream.read(4))[0]))
    if "id" in answer: print(json.dumps(answer)); break
"""


class Grants(naru.Case):
    @classmethod
    def prepare(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="naru-e2e-photos-"))
        cls.bind = f"bind:{cls.folder}:rw"
        cls.port, cls.store_port = naru.free_port(), naru.free_port()
        files = small.web_and_store(cls.port, cls.store_port)
        files["compose.yaml"] = files["compose.yaml"].replace('volumes: ["entries:/data"]', f'volumes: ["{cls.folder}:/data"]\n    cap_add: [NET_ADMIN]\n    restart: always')
        files["compose.yaml"] = files["compose.yaml"].replace("volumes: { entries: {} }\n", "")
        cls.app = naru.App(cls.platform, "shop", files)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.folder, ignore_errors=True)

    def allowed(self, app="shop"):
        return [g["grant"] for g in self.platform.naru_json("app", "allow", app)["grants"]]

    def capabilities(self):
        status = Path(f"/proc/{self.app.wait_alone('store')['pid']}/status").read_text()
        return {line.split(":")[0]: int(line.split()[1], 16) for line in status.splitlines() if line.startswith("Cap")}

    def lines(self):
        return naru.tcp_lines(self.store_port, "ADD picture", "PING")

    def test_01_a_push_is_refused_and_told_who_may_allow_it(self):
        refused = self.app.push(check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, r"compose\.yaml:\d+:\d+: services\.store\.volumes\[0\]: found .*, which shop is not allowed",
                         rf"as root: naru app allow shop {self.bind}", r"compose\.yaml:\d+:\d+: services\.store\.cap_add\[0\]", r"as root: naru app allow shop cap:NET_ADMIN")
        self.app.edit("compose.yaml", "    cap_add: [NET_ADMIN]", "    cap_add: [NET_ADMIN]\n    privileged: true\n    network_mode: host")
        self.app.commit("Root of the machine")
        refused = self.app.push(check=False)
        self.assert_says(refused.stdout, r"services\.store\.privileged.*\n(.*\n)*.*it cannot be granted yet", r"services\.store\.network_mode")
        self.app.git("reset", "-q", "--hard", "HEAD~1")

    def test_02_neither_a_token_nor_the_user_of_control_allows_anything(self):
        admin = self.platform.naru_json("token", "create", "admin")["token"]
        for token in (self.app.token, admin):
            far = self.platform.env | {"NARU_URL": self.platform.url(""), "NARU_TOKEN": token}
            refused = naru.run([naru.NARU, "app", "allow", "shop", "cap:NET_ADMIN"], env=far, check=False)
            self.assertNotEqual(refused.returncode, 0)
            self.assert_says(refused.stdout, "on the machine itself, as root")
            status, _, _ = naru.fetch(self.platform.url("/v1/apps/shop/grants"), "POST", {"Authorization": f"Bearer {token}"}, b'{"grants": ["cap:NET_ADMIN"]}')
            self.assertEqual(status, 400)
        user = pwd.getpwnam("naru")
        for op in ("grant.allow", "grant.disallow"):
            request = json.dumps({"id": 1, "op": op, "app": "shop", "grants": ["cap:NET_ADMIN"], "by": "root"})
            asked = naru.run([sys.executable, "-c", ASK, user.pw_uid, user.pw_gid, self.platform.data / "run/launcher.sock", request])
            self.assertEqual(json.loads(asked.stdout)["error"]["code"], "forbidden", asked.stdout)
        listed = naru.run([sys.executable, "-c", ASK, user.pw_uid, user.pw_gid, self.platform.data / "run/launcher.sock", '{"id": 1, "op": "grant.list"}'])
        self.assertEqual(json.loads(listed.stdout)["result"], {"apps": []})
        script = 'echo "{}" > "$1"'
        written = subprocess.run(["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "sh", "-c", script, "sh", self.platform.data / "grants.json"],
                                 stdin=subprocess.DEVNULL, capture_output=True)
        self.assertNotEqual(written.returncode, 0)
        self.assertEqual(self.allowed(), [])

    def test_03_what_gives_the_machine_away_is_allowed_to_nobody(self):
        link = self.platform.work / "link"
        link.symlink_to("/etc")
        for grant, why in (("cap:SYS_ADMIN", "beyond the container"), ("bind:/etc", "machine's own"), ("bind:/", "machine's own"), (f"bind:{self.platform.data}", "data folder of Naru"),
                           (f"bind:{link}", "readlink"), ("bind:/srv/naru-e2e-none", "mkdir"), ("privileged", "cannot be granted yet")):
            refused = self.platform.naru("app", "allow", "shop", grant, check=False)
            self.assertNotEqual(refused.returncode, 0, grant)
            self.assert_says(refused.stdout, why)
        self.assertNotEqual(self.platform.naru("app", "allow", "nobody", "cap:NET_ADMIN", check=False).returncode, 0)
        self.assertEqual(self.allowed(), [])

    def test_04_what_root_allowed_comes_in_and_the_container_has_it(self):
        said = self.platform.naru("app", "allow", "shop", "cap:NET_ADMIN", self.bind).stdout
        self.assert_says(said, r"shop is allowed cap:NET_ADMIN, in all its environments", "chmod 700")
        self.app.push()
        self.app.wait_live(1)
        found = self.capabilities()
        self.assertTrue(found["CapEff"] & found["CapBnd"] & CAP_NET_ADMIN, found)
        self.assertEqual(self.lines(), ["store", "+added picture", "+pong"])
        self.assertEqual((self.folder / "entries").read_text(), "picture\n")
        web = Path(f"/proc/{self.app.wait_alone('web')['pid']}/status").read_text()
        self.assertFalse(int([w for w in web.splitlines() if w.startswith("CapBnd")][0].split()[1], 16) & CAP_NET_ADMIN, "it is the service's that asks for it")

    def test_05_it_is_shown_with_who_when_and_who_uses_it(self):
        [cap, bind] = self.platform.naru_json("app", "allow", "shop")["grants"]
        self.assertEqual((cap["grant"], cap["by"], cap["used_by"], bind["used_by"]), ("cap:NET_ADMIN", os.environ.get("SUDO_USER", "root"), ["production/store"], ["production/store"]))
        self.assertGreater(cap["at"], 0)
        self.assert_says(self.platform.naru("status", "shop").stdout, "allowed cap:NET_ADMIN, bind:")
        self.assert_says(self.platform.naru("events", "shop").stdout, r"grants changed: allowed cap:NET_ADMIN, allowed bind:.*, by ")
        pipelines = len(self.app.pipelines())
        self.platform.naru("env", "set", "shop", "NOBODY=1")
        self.assertEqual(len(self.app.pipelines()), pipelines, "the file is read with what is allowed: nothing of it sees that variable")

    def test_06_a_folder_that_is_written_is_state(self):
        [store] = [s for s in self.app.status()["services"] if s["name"] == "store"]
        self.assertTrue(store["stateful"])
        self.app.edit("compose.yaml", 'ROUND: "0"', 'ROUND: "1"')
        self.app.commit("Another round")
        self.app.push()
        self.app.wait_live(2)
        self.assertFalse((self.folder / "two-at-once").exists())
        self.app.edit("compose.yaml", "x-naru:\n", "x-naru:\n  environments: { staging: }\n")
        self.app.commit("Two environments, one folder")
        refused = self.app.push(check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, "production and staging would both write", "naru env set shop/staging FOLDER")
        self.app.git("reset", "-q", "--hard", "HEAD~1")

    def test_07_no_other_application_writes_there(self):
        self.platform.naru("app", "create", "blog")
        refused = self.platform.naru("app", "allow", "blog", self.bind, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, "shop writes there already", "naru app disallow shop bind:")
        self.platform.naru("app", "allow", "blog", f"bind:{self.folder}")
        self.platform.naru("app", "rm", "blog", "--yes")
        self.assertNotIn("blog", (self.platform.data / "grants.json").read_text())
        self.platform.naru("app", "create", "blog")
        self.assertEqual(self.allowed("blog"), [], "one of the same name begins without")

    def test_08_it_outlives_a_restart_of_everything(self):
        self.platform.stop(all=True)
        self.platform.start_process()
        self.assertTrue(self.capabilities()["CapEff"] & CAP_NET_ADMIN)
        self.assertEqual(self.allowed(), ["cap:NET_ADMIN", self.bind])

    def test_09_what_is_taken_back_stops_nothing_and_starts_nothing(self):
        before = self.app.wait_alone("store")["pid"]
        said = self.platform.naru("app", "disallow", "shop", self.bind).stdout
        self.assert_says(said, "no longer allowed bind:", "In use by production/store: what runs goes on")
        self.assertEqual(self.lines(), ["store", "+added picture", "+pong"])
        self.assertEqual(self.app.wait_alone("store")["pid"], before)
        self.app.commit("Nothing new")
        refused = self.app.push(check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assert_says(refused.stdout, rf"naru app allow shop {self.bind}")
        os.kill(before, signal.SIGKILL)
        self.is_refused()
        self.platform.stop(all=True)
        self.platform.start_process()
        self.is_refused()
        self.platform.naru("app", "allow", "shop", self.bind)
        self.app.wait_alone("store")
        naru.wait_until(lambda: self.lines() == ["store", "+added picture", "+pong"], "it answers again")
        self.app.push()
        self.assertFalse((self.folder / "two-at-once").exists())

    def is_refused(self):
        naru.wait_until(lambda: any(f"shop is not allowed {self.bind}" in i["error"] and f"naru app allow shop {self.bind}" in i["error"] for i in self.app.instances("store")), "its start is refused")

    def test_10_a_folder_that_became_a_link_is_not_followed(self):
        aside = self.folder.with_name(self.folder.name + "-aside")
        self.folder.rename(aside)
        try:
            self.folder.symlink_to("/etc")
            os.kill(self.app.wait_alone("store")["pid"], signal.SIGKILL)
            naru.wait_until(lambda: any("symbolic link" in i["error"] for i in self.app.instances("store")), "its start is refused")
        finally:
            self.folder.unlink()
            aside.rename(self.folder)
        self.app.wait_alone("store")


if __name__ == "__main__":
    unittest.main()
