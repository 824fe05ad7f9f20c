"""A name server over TLS in a network namespace: unbound, with a certificate of an authority of its own, in front of a server that counts. At the
same address another server counts the questions that come in clear text."""
import os, pathlib, tempfile

from common import run, until

# What the certificate states.
NAME = "dns.secure.example"
AUTHORITY = pathlib.Path("/etc/hither/site.pem")


def certificates(to):
    """Makes an authority, and a key with a certificate of that authority."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    (to / "extensions").write_text(f"subjectAltName=DNS:{NAME}\nbasicConstraints=CA:FALSE\n")
    AUTHORITY.parent.mkdir(parents=True, exist_ok=True)
    for words in (["req", "-x509", *key, "-keyout", "authority.key", "-out", str(AUTHORITY), "-days", "30", "-subj", "/CN=authority of the checks"],
                  ["req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server"],
                  ["x509", "-req", "-in", "server.csr", "-CA", str(AUTHORITY), "-CAkey", "authority.key", "-CAcreateserial", "-days", "30",
                   "-extfile", "extensions", "-out", "server.pem"]):
        done = run("openssl", *words, cwd=to)
        if done.returncode:
            raise RuntimeError(f"openssl {words}: {done.stderr}")
    AUTHORITY.chmod(0o644)


def serve(namespace, address, answer, counted, clear, counted_clear):
    """Starts the servers: questions over TLS are noted in `counted` and get the address `answer`; those in clear text `counted_clear` and `clear`."""
    to = pathlib.Path(tempfile.mkdtemp())
    certificates(to)
    (to / "unbound.conf").write_text(f"""server:
  interface: {address}@853
  tls-port: 853
  tls-service-key: {to}/server.key
  tls-service-pem: {to}/server.pem
  access-control: 0.0.0.0/0 allow
  do-not-query-localhost: no
  module-config: iterator
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
forward-zone:
  name: .
  forward-addr: 127.0.0.1
remote-control:
  control-enable: no
""")
    start = ["systemd-run", "-q", f"--property=NetworkNamespacePath=/run/netns/{namespace}"]
    run(*start, "python3", "/src/systemd/counting.py", "127.0.0.1", answer, counted)
    run(*start, "python3", "/src/systemd/counting.py", address, clear, counted_clear)
    run(*start, "unbound", "-c", str(to / "unbound.conf"))

    def listens():
        return ":853" in run("ip", "netns", "exec", namespace, "ss", "-Hltn").stdout
    return until(lambda: os.path.exists(counted) and os.path.exists(counted_clear) and listens())
