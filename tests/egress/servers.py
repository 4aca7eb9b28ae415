"""Real servers and registries for the lab: nginx (TLS, HTTP/2, static registries), PostgreSQL, Redis, sshd.

    servers.py DIRECTORY ADDRESS ADDRESS6

Runs as an ordinary user in the servers' network namespace, as pid 1 of a process namespace of its own, so
that all ends with it. Says the names of the servers that are up in one line, and lives until its standard
input ends. DIRECTORY/clients holds what clients need. Everything is made here: certificates, packages, keys.
"""

import base64
import glob
import gzip
import hashlib
import io
import json
import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

DIRECTORY, ADDRESS, ADDRESS6 = sys.argv[1:4]
CLIENTS = os.path.join(DIRECTORY, "clients")
# A client is allowed to reach the first of them and none of the others, which are as good.
HOSTS = ["www.lab.example", "other.lab.example", "11.1.0.3"]
PACKAGE = "labpkg"
WORD = "from the registry"


def path(*parts):
    """A path below DIRECTORY, whose directory is there."""
    whole = os.path.join(DIRECTORY, *parts)
    os.makedirs(os.path.dirname(whole), exist_ok=True)
    return whole


def write(where, content):
    with open(where, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def run(*words, **more):
    return subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=2, stderr=LOG, **more)


def daemon(*words, **more):
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=LOG, stderr=LOG, **more)


def program(*patterns):
    """The first that is there of programs by name or by pattern."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    for pattern in patterns:
        for found in sorted(glob.glob(pattern)) or [shutil.which(pattern, path=search)]:
            if found:
                return found
    return None


def answers(port):
    """Whether somebody listens there soon."""
    for _ in range(600):
        try:
            socket.create_connection((ADDRESS, port), 1).close()
            return True
        except OSError:
            time.sleep(0.05)
    return False


# ---- certificates ----


def certificates():
    """An authority of the lab's own, and a certificate for each host."""
    authority = ["-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-days", "2"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run("openssl", "req", "-x509", *key, "-keyout", path("ca.key"), "-out", path("ca.pem"), "-days", "2",
        "-subj", "/CN=lab authority", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    shutil.copy(path("ca.pem"), path("clients", "ca.pem"))
    for host in HOSTS:
        kind = "IP" if host[0].isdigit() else "DNS"
        write(path(host + ".ext"), f"subjectAltName={kind}:{host}\nextendedKeyUsage=serverAuth\n")
        run("openssl", "req", *key, "-keyout", path(host + ".key"), "-out", path(host + ".csr"), "-subj", f"/CN={host}")
        run("openssl", "x509", "-req", "-in", path(host + ".csr"), *authority, "-CAcreateserial",
            "-extfile", path(host + ".ext"), "-out", path(host + ".pem"))


# ---- what nginx serves, for each host ----


def archive(members):
    """A gzipped tar archive of texts by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


def python_index(host):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        about = f"{PACKAGE}-1.0.dist-info"
        files = {
            f"{PACKAGE}.py": f'WORD = "{WORD}"\n',
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        for name, content in files.items():
            wheel.writestr(name, content)
        wheel.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"]))
    name = f"{PACKAGE}-1.0-py3-none-any.whl"
    write(path("www", host, "wheels", name), buffer.getvalue())
    write(path("www", host, "simple", PACKAGE, "index.html"), f'<a href="/wheels/{name}">{name}</a>\n')


def npm_registry(host):
    content = archive(
        {
            "package/package.json": json.dumps({"name": PACKAGE, "version": "1.0.0", "main": "index.js"}),
            "package/index.js": f'module.exports = "{WORD}";\n',
        }
    )
    write(path("www", host, "tarballs", f"{PACKAGE}-1.0.0.tgz"), content)
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    source = {"tarball": f"https://{host}/tarballs/{PACKAGE}-1.0.0.tgz", "integrity": integrity}
    version = {"name": PACKAGE, "version": "1.0.0", "main": "index.js", "dist": source}
    about = {"name": PACKAGE, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    write(path("www", host, "npm", PACKAGE), json.dumps(about))


def crate_index(host):
    manifest = f'[package]\nname = "{PACKAGE}"\nversion = "1.0.0"\nedition = "2021"\n'
    library = f'pub const WORD: &str = "{WORD}";\n'
    crate = archive({f"{PACKAGE}-1.0.0/Cargo.toml": manifest, f"{PACKAGE}-1.0.0/src/lib.rs": library})
    write(path("www", host, "crates", f"{PACKAGE}-1.0.0.crate"), crate)
    write(path("www", host, "index", "config.json"),
          json.dumps({"dl": f"https://{host}/crates/{{crate}}-{{version}}.crate"}))
    line = {"name": PACKAGE, "vers": "1.0.0", "deps": [], "features": {}, "yanked": False,
            "cksum": hashlib.sha256(crate).hexdigest()}
    write(path("www", host, "index", PACKAGE[:2], PACKAGE[2:4], PACKAGE), json.dumps(line) + "\n")


def debian_archive(host):
    control = f"Package: {PACKAGE}\nVersion: 1.0\nArchitecture: all\nMaintainer: lab <lab@lab.example>\nDescription: {WORD}\n"
    write(path("deb", "DEBIAN", "control"), control)
    name = f"{PACKAGE}_1.0_all.deb"
    run("dpkg-deb", "--root-owner-group", "--build", path("deb"), path("www", host, "deb", name))
    content = open(path("www", host, "deb", name), "rb").read()
    write(path("www", host, "deb", "Packages"),
          f"{control}Filename: ./{name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n")


def repository():
    """One that is served over https as it lies there, and over ssh."""
    git = ["git", "-c", "user.name=lab", "-c", "user.email=lab@lab.example", "-C", path("work", "")]
    run(*git, "init", "-q", "-b", "main")
    write(path("work", "README"), WORD + "\n")
    run(*git, "add", ".")
    run(*git, "commit", "-q", "-m", "first", "--date=2020-01-01T00:00:00Z")
    run("git", "clone", "-q", "--bare", path("work", ""), path("repo.git"))
    run("git", "-C", path("repo.git"), "update-server-info")


def site():
    block = bytes(range(256)) * 4096
    for host in HOSTS:
        write(path("www", host, "page"), f"page of the lab\n")
        write(path("www", host, "big"), b"".join(bytes([n]) + block for n in range(8)))
        python_index(host)
        npm_registry(host)
        crate_index(host)
        if program("dpkg-deb"):
            debian_archive(host)
        if program("git"):
            os.symlink(path("repo.git"), path("www", host, "repo.git"))


SITE = """
server {
    listen 80%(default)s; listen [::]:80%(default)s;
    listen 443 ssl http2%(default)s; listen [::]:443 ssl http2%(default)s;
    server_name %(host)s;
    ssl_certificate %(directory)s/%(host)s.pem; ssl_certificate_key %(directory)s/%(host)s.key;
    root %(directory)s/www/%(host)s;
    location = /protocol { return 200 "$server_protocol $host\\n"; }
    location = /moved { return 302 /page; }
    location = /secret { return 403 "no\\n"; }
}
"""
NGINX = """
daemon off; worker_processes 1; pid %(directory)s/nginx.pid; error_log stderr;
events { worker_connections 2048; }
http {
    access_log off; default_type application/octet-stream; server_names_hash_bucket_size 64;
    types { text/html html; text/plain page; }
    client_body_temp_path %(directory)s/t1; proxy_temp_path %(directory)s/t2; fastcgi_temp_path %(directory)s/t3;
    uwsgi_temp_path %(directory)s/t4; scgi_temp_path %(directory)s/t5;
    %(sites)s
}
"""


def nginx():
    if not program("nginx") or not program("openssl"):
        return False
    certificates()
    site()
    sites = ""
    for host in HOSTS:
        default = " default_server" if host == HOSTS[-1] else ""
        sites += SITE % {"host": host, "directory": DIRECTORY, "default": default}
    write(path("nginx.conf"), NGINX % {"directory": DIRECTORY, "sites": sites})
    daemon(program("nginx"), "-e", "stderr", "-c", path("nginx.conf"))
    return answers(443)


# ---- the others ----


def postgres():
    server = program("/usr/lib/postgresql/*/bin/postgres", "postgres")
    initdb = program("/usr/lib/postgresql/*/bin/initdb", "initdb")
    if not server or not initdb:
        return False
    data = path("postgres")
    run(initdb, "-D", data, "-U", "lab", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    with open(os.path.join(data, "pg_hba.conf"), "a") as rules:
        rules.write("host all all all trust\n")
    daemon(server, "-D", data, "-h", "*", "-k", DIRECTORY, "-F")
    return answers(5432)


def redis():
    if not program("redis-server"):
        return False
    daemon(program("redis-server"), "--bind", "*", "--protected-mode", "no", "--save", "", "--dir", DIRECTORY)
    return answers(6379)


SSHD = """
Port 22
HostKey %(directory)s/host_key
AuthorizedKeysFile %(directory)s/authorized_keys
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
Subsystem sftp internal-sftp
"""


def sshd():
    server = program("sshd")
    if not server or not program("ssh-keygen"):
        return False
    for key in ("host_key", "clients/key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", path(key))
    # Each client makes it its own.
    os.chmod(path("clients", "key"), 0o644)
    shutil.copy(path("clients", "key.pub"), path("authorized_keys"))
    host_key = open(path("host_key.pub")).read()
    write(path("clients", "known_hosts"), f"{','.join(HOSTS)} {host_key}")
    write(path("clients", "user"), pwd.getpwuid(os.getuid()).pw_name)
    write(path("sshd_config"), SSHD % {"directory": DIRECTORY})
    daemon(server, "-D", "-e", "-f", path("sshd_config"))
    return answers(22)


def time_server():
    """An SNTP server of a fixed time (RFC 4330), for both families."""
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    # Its answers have to come from the address that was asked.
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    server.bind(("::", 123))

    def loop():
        while True:
            query, about, _, peer = server.recvmsg(512, 256)
            if len(query) < 48:
                continue
            now = struct.pack(">II", 3_900_000_000, 0)
            head = struct.pack(">BBbb", 0x24, 2, 6, -20) + b"\0" * 8 + b"LAB\0"
            server.sendmsg([head + now + query[40:48] + now + now], about, 0, peer)

    threading.Thread(target=loop, daemon=True).start()
    return True


def main():
    global LOG
    os.umask(0o022)
    os.environ["HOME"] = DIRECTORY
    LOG = open(path("log"), "ab")
    os.makedirs(CLIENTS, exist_ok=True)
    if program("git"):
        repository()
    up = ["names"]  # They are `lab.py`'s, and always there.

    def start(name, server):
        try:
            if server():
                up.append(name)
        except (OSError, subprocess.CalledProcessError) as error:
            LOG.write(f"{name}: {error}\n".encode())

    servers = {"nginx": nginx, "postgres": postgres, "redis": redis, "sshd": sshd, "ntp": time_server}
    threads = [threading.Thread(target=start, args=item) for item in servers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    LOG.flush()
    print(*up, flush=True)
    sys.stdin.read()


main()
