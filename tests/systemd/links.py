"""Split DNS: which link's servers are asked for which names, with systemd-resolved, systemd-networkd and NetworkManager. Each network is a
namespace with a name server that notes the questions. Two of these servers have the same address."""
import json, os, pathlib, signal, socket, statistics, time

import over_tls
from common import check, configure, ctl, dig, journal, main, prepare, prop, resolve_by, run, until

# For each link: the address of its server, the host's address, and the address in the server's answers.
NETWORKS = {"home0": ("10.0.0.1", "10.0.0.2/24", "198.51.100.1"), "vpn0": ("10.0.0.1", "10.0.0.3/24", "198.51.100.2"),
            "lab0": ("10.3.0.1", "10.3.0.2/24", "198.51.100.3"), "tls0": ("10.4.0.1", "10.4.0.2/24", "198.51.100.4")}
# What the server of tls0 answers to questions in clear text.
CLEAR = "198.51.100.5"
counted = iter(range(10**6))
# Times until changes were in force, in milliseconds.
TOOK = []


def network(link):
    """Creates the namespace behind a link, and its server."""
    server, host, answer = NETWORKS[link]
    ns = link + "-ns"
    commands = [f"ip netns add {ns}", f"ip link add {link} type veth peer name inner netns {ns}", f"ip address add {host} dev {link}",
                f"ip link set {link} up", f"ip -n {ns} address add {server}/24 dev inner", f"ip -n {ns} link set inner up",
                f"ip -n {ns} link set lo up"]
    for command in commands:
        done = run(*command.split())
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")
    if link == "tls0":
        return over_tls.serve(ns, server, answer, f"/run/asked-{link}", CLEAR, "/run/asked-clear")
    unit = f"server-{link}"
    run("systemd-run", "-q", "--unit", unit, f"--property=NetworkNamespacePath=/run/netns/{ns}", "python3", "/src/systemd/counting.py",
        server, answer, f"/run/asked-{link}")
    return until(lambda: run("ip", "-n", ns, "address").returncode == 0 and os.path.exists(f"/run/asked-{link}"))


def asked(link):
    """The questions that a server received, in lower case."""
    try:
        return [line.split() for line in pathlib.Path(f"/run/asked-{link}").read_text().splitlines()]
    except FileNotFoundError:
        return []


def askers(name):
    """The links whose servers were asked for a name."""
    return {link for link in NETWORKS if any(word[0] == name for word in asked(link))}


def fresh(domain):
    return f"n{next(counted)}.{domain}"


def answer(name):
    out = dig("@127.0.0.1", "+noall", "+answer", "+comments", name, "A").stdout
    lines = [line.split() for line in out.splitlines() if line and not line.startswith(";")]
    return {line[4] for line in lines if len(line) > 4 and line[3] == "A"} or ({"SERVFAIL"} if "SERVFAIL" in out else {"-"})


def of(*links):
    return {NETWORKS[link][2] for link in links}


def upstreams():
    out = ctl("status", "--json").stdout
    return {(u["address"], u["origin"]): u["domains"] for u in json.loads(out)["upstreams"]} if out else {}


def in_force(what, domain, wanted, seconds=10):
    """Waits until names of a domain are asked of the wanted servers, and notes how long it took."""
    start = time.monotonic()
    seen = until(lambda: (lambda got: got if got and got <= wanted else None)(answer(fresh(domain))), seconds)
    took = (time.monotonic() - start) * 1000
    TOOK.append(took)
    # This includes the time of the manager, so that a single change may take long. `soon` checks the median.
    check(f"{what}: in force after {took:.0f} ms", bool(seen) and took < 5000, f"{upstreams()} {answer(fresh(domain))}")


def goes_to(what, domain, *links):
    name = fresh(domain)
    got = answer(name)
    check(f"{what}: {domain} is asked of {' and '.join(links)}", got <= of(*links) and askers(name) <= set(links) and askers(name),
          f"{name}: {got}, asked of {askers(name)}; {upstreams()}")


def resolvectl(*words):
    done = run("resolvectl", *words)
    if done.returncode:
        check("resolvectl " + " ".join(words), False, done.stderr)


def networks():
    for link in NETWORKS:
        check(f"there is a network behind {link}", network(link))
    resolve_by("nameserver 127.0.0.1\n")
    configure("20", f'[tls]\nca_file = "{over_tls.AUTHORITY}"\n')


def nobody(what, domain):
    name = fresh(domain)
    got = answer(name)
    check(f"{what}: {domain} is asked of no server", got == {"SERVFAIL"} and not askers(name), f"{got}, {askers(name)}; {upstreams()}")


def origins(service):
    links = upstreams()
    wanted = {("10.0.0.1:53", f"link {link} ({service})") for link in ("home0", "vpn0")}
    corp = links.get(("10.0.0.1:53", f"link vpn0 ({service})"))
    check(f"status names the links and {service}, and their domains", set(links) == wanted and corp == ["corp.example."], links)


def split():
    """A VPN with a domain gets the names of that domain and no others."""
    for _ in range(10):
        goes_to("split", "corp.example", "vpn0")
        goes_to("split", "public.test", "home0")
    name = "big" + fresh("corp.example")
    got = answer(name)
    check("TCP goes through the link too", got == of("vpn0") and [name, "tcp"] in asked("vpn0") and askers(name) == {"vpn0"}, got)


def full(come, go):
    """A VPN with the domain `~.`: answers of the provider are forgotten, and later those of the VPN."""
    answer("kept.public.test")
    check("a name is answered by the provider", answer("kept.public.test") == of("home0"))
    come()
    in_force("a VPN with the domain ~.", "public.test", of("vpn0"))
    check("answers of the provider are forgotten", answer("kept.public.test") == of("vpn0"))
    before = len(asked("home0"))
    for _ in range(10):
        goes_to("everything", "public.test", "vpn0")
        goes_to("everything", "corp.example", "vpn0")
    check("the provider gets no query", len(asked("home0")) == before, asked("home0")[before:])
    go()
    in_force("the VPN without that domain", "public.test", of("home0"))
    check("answers of the VPN are forgotten", answer("kept.public.test") == of("home0"))


def resolved():
    run("systemctl", "unmask", "systemd-resolved")
    check("systemd-resolved starts", run("systemctl", "start", "systemd-resolved").returncode == 0)
    run("systemctl", "start", "hitherd")
    resolvectl("dns", "home0", "10.0.0.1")
    in_force("a link with a server", "public.test", of("home0"))
    # In this order, since resolved would send all names to a link without a domain.
    resolvectl("domain", "vpn0", "~corp.example")
    resolvectl("dns", "vpn0", "10.0.0.1")
    in_force("a new VPN with a domain", "corp.example", of("vpn0"))
    origins("systemd-resolved")
    split()
    full(lambda: resolvectl("domain", "vpn0", "~."), lambda: resolvectl("domain", "vpn0", "~corp.example"))
    split()
    resolvectl("dns", "lab0", "10.3.0.1")
    resolvectl("domain", "lab0", "x.corp.example")
    in_force("a link with a longer suffix", "x.corp.example", of("lab0"))
    goes_to("the longest suffix", "x.corp.example", "lab0")
    goes_to("the longest suffix", "corp.example", "vpn0")
    name = fresh("public.test")
    check("a link with a search domain is a default route too", answer(name) <= of("home0", "lab0") and "vpn0" not in askers(name))
    resolvectl("default-route", "lab0", "no")
    in_force("the link is no default route any more", "x.corp.example", of("lab0"))
    until(lambda: upstreams().get(("10.3.0.1:53", "link lab0 (systemd-resolved)")) == ["x.corp.example."])
    for _ in range(5):
        goes_to("no default route", "public.test", "home0")
    resolvectl("default-route", "home0", "no")
    until(lambda: answer(fresh("public.test")) == {"SERVFAIL"})
    nobody("without a default route", "public.test")
    goes_to("without a default route", "corp.example", "vpn0")
    resolvectl("default-route", "home0", "yes")
    in_force("the link is a default route again", "public.test", of("home0"))


def tls_of(label):
    """What status says of the connections to an upstream."""
    out = ctl("status", "--json").stdout
    return next((u["tls"] for u in json.loads(out)["upstreams"] if u["address"] == label), None) if out else None


def stays_plain():
    """The other links."""
    goes_to("another link stays plain", "public.test", "home0")
    goes_to("another link stays plain", "corp.example", "vpn0")


def goes_over_tls(what, label, service):
    in_force(what, "secure.example", of("tls0"))
    before, name = asked("clear"), fresh("secure.example")
    got = answer(name)
    check(f"{what}: names of its domain are asked of {label} over TLS", got == of("tls0") and askers(name) == {"tls0"}, f"{got}, {upstreams()}")
    check(f"{what}: none is asked in clear text", asked("clear") == before, asked("clear")[len(before):])

    def is_shown():
        """A change of the network closes connections, and a query opens one."""
        answer(fresh("secure.example"))
        tls = tls_of(label)
        return (tls and tls["version"] == "1.3" and tls["peer"] == "10.4.0.1:853"
                and upstreams().get((label, f"link tls0 ({service})")) == ["secure.example."])
    check(f"{what}: status names the link, its domain, and the version of TLS", until(is_shown), f"{tls_of(label)} {upstreams()}")
    stays_plain()


def is_refused(what, label, why):
    check(f"{what}: status says why it is refused",
          until(lambda: (answer(fresh("secure.example")), (tls_of(label) or {}).get("problem") or "")[1].count(why)), f"{tls_of(label)}, {upstreams()}")
    before, name = asked("clear"), fresh("secure.example")
    got = answer(name)
    check(f"{what}: its domain is asked of no server", got == {"SERVFAIL"} and not askers(name) and asked("clear") == before, f"{got}, {asked('clear')}")
    check(f"{what}: the log says so", until(lambda: f"{label} cannot be used: " in journal("hitherd")), journal("hitherd")[-2000:])
    stays_plain()


def resolved_over_tls():
    label = f"tls://10.4.0.1#{over_tls.NAME}"
    resolvectl("domain", "tls0", "~secure.example")
    resolvectl("dnsovertls", "tls0", "yes")
    resolvectl("dns", "tls0", f"10.4.0.1#{over_tls.NAME}")
    goes_over_tls("DNSOverTLS=yes", label, "systemd-resolved")
    resolvectl("dns", "tls0", "10.4.0.1#wrong.secure.example")
    is_refused("a wrong name", "tls://10.4.0.1#wrong.secure.example", "wrong.secure.example")
    resolvectl("dns", "tls0", "10.4.0.1")
    is_refused("no name, and a certificate without the address", "tls://10.4.0.1", "10.4.0.1")
    resolvectl("dnsovertls", "tls0", "opportunistic")
    in_force("opportunistic without a name is clear text", "secure.example", {CLEAR})
    resolvectl("dns", "tls0", "10.4.0.1#wrong.secure.example")
    goes_over_tls("opportunistic, with any certificate", "tls://10.4.0.1#wrong.secure.example", "systemd-resolved")
    resolvectl("dnsovertls", "tls0", "no")
    in_force("DNSOverTLS=no is clear text", "secure.example", {CLEAR})
    resolvectl("dns", "tls0", f"10.4.0.1#{over_tls.NAME}")
    resolvectl("dnsovertls", "tls0", "yes")
    goes_over_tls("DNSOverTLS=yes again", label, "systemd-resolved")
    run("systemctl", "restart", "hitherd")
    goes_over_tls("hitherd was restarted", label, "systemd-resolved")
    # The file that resolved writes lists only servers of default routes.
    resolvectl("default-route", "tls0", "yes")
    check("the link is a default route too", until(lambda: "." in (upstreams().get((label, "link tls0 (systemd-resolved)")) or [])), upstreams())
    before = asked("clear")
    run("systemctl", "stop", "systemd-resolved")
    check("without resolved, the servers of its file are known for longer than its links",
          until(lambda: not any("systemd-resolved" in origin for _, origin in upstreams()) and (label, "/run/systemd/resolve/resolv.conf") in upstreams()),
          upstreams())
    for _ in range(5):
        answer(fresh("secure.example"))
    check("without resolved, none of its servers is asked in clear text that it asked over TLS", asked("clear") == before, asked("clear")[len(before):])
    run("systemctl", "start", "systemd-resolved")
    resolvectl("default-route", "tls0", "no")
    until(lambda: upstreams().get((label, "link tls0 (systemd-resolved)")) == ["secure.example."])
    goes_over_tls("resolved is back", label, "systemd-resolved")
    resolvectl("revert", "tls0")
    in_force("the link has no server any more", "secure.example", of("home0"))


def services_go_and_come():
    answer("stays.public.test")
    run("systemctl", "restart", "systemd-resolved")
    until(lambda: "vpn0" in run("resolvectl", "status", "vpn0").stdout)
    goes_to("resolved was restarted", "corp.example", "vpn0")
    before = [line for line in asked("home0") if line[0] == "stays.public.test"]
    answer("stays.public.test")
    check("answers are kept meanwhile", [line for line in asked("home0") if line[0] == "stays.public.test"] == before)
    run("systemctl", "restart", "hitherd")
    goes_to("hitherd was restarted", "corp.example", "vpn0")
    goes_to("hitherd was restarted", "public.test", "home0")
    pid = int(prop("systemd-resolved", "MainPID"))
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    check("a resolved that hangs delays no reload", run("systemctl", "reload", "hitherd").returncode == 0 and time.monotonic() - start < 2)
    goes_to("resolved hangs", "corp.example", "vpn0")
    start = time.monotonic()
    run("systemctl", "restart", "hitherd")
    check("and delays a start by less than 4 s", time.monotonic() - start < 4, time.monotonic() - start)
    os.kill(pid, signal.SIGCONT)
    run("systemctl", "restart", "hitherd")
    goes_to("it goes on", "corp.example", "vpn0")


def a_link_goes():
    resolvectl("domain", "vpn0", "~.")
    in_force("the VPN with the domain ~.", "public.test", of("vpn0"))
    answer("last.public.test")
    run("ip", "link", "del", "vpn0")
    in_force("the VPN is gone", "public.test", of("home0"))
    check("answers of a VPN that is gone are forgotten", answer("last.public.test") == of("home0"))
    goes_to("the VPN is gone", "corp.example", "home0")
    run("ip", "netns", "del", "vpn0-ns")
    run("systemctl", "stop", "server-vpn0")
    check("the network behind the VPN is created again", network("vpn0"))
    for words in (("revert", "home0"), ("revert", "lab0")):
        resolvectl(*words)
    run("systemctl", "mask", "--now", "systemd-resolved")


def networkd():
    """Alone."""
    files = pathlib.Path("/run/systemd/network")
    files.mkdir(parents=True, exist_ok=True)

    def link(name, *lines, dns=None):
        text = ["[Match]", f"Name={name}", "[Network]", f"Address={NETWORKS[name][1]}", f"DNS={dns or NETWORKS[name][0]}", "LinkLocalAddressing=no", *lines]
        (files / f"50-{name}.network").write_text("\n".join(text) + "\n")

    def change(*lines):
        link("vpn0", *lines)
        domains = [line.split("~")[1] for line in lines if "~" in line]
        state = pathlib.Path(f"/run/systemd/netif/links/{socket.if_nametoindex('vpn0')}")

        def lines_of(key):
            text = state.read_text() if state.exists() else ""
            return [line.split("=")[1].split() for line in text.splitlines() if line.startswith(key + "=")]

        def done():
            return lines_of("ROUTE_DOMAINS") == [domains]

        def again():
            """systemd 252 sometimes loses a reload while a link is being configured. A restart is not lost."""
            if done():
                return True
            run("networkctl", "reload")
            run("networkctl", "reconfigure", "vpn0")
            return until(done, 2) or (run("systemctl", "restart", "systemd-networkd") and until(done, 5))
        # While a link is being configured, networkd may ignore the next change.
        until(lambda: lines_of("ADMIN_STATE") == [["configured"]], 5)
        check("networkd takes " + " ".join(lines), until(again))
        until(lambda: lines_of("ADMIN_STATE") == [["configured"]], 5)
    link("home0", "DNSDefaultRoute=yes")
    link("vpn0", "Domains=~corp.example")
    check("networkd starts", run("systemctl", "start", "systemd-networkd").returncode == 0)
    in_force("networkd with servers", "public.test", of("home0"))
    in_force("networkd with a VPN", "corp.example", of("vpn0"))
    origins("systemd-networkd")
    split()
    full(lambda: change("Domains=~."), lambda: change("Domains=~corp.example"))
    change("Domains=corp.example", "DNSDefaultRoute=no")
    in_force("a search domain of networkd", "corp.example", of("vpn0"))
    split()
    link("tls0", "Domains=~secure.example", "DNSOverTLS=yes", dns=f"10.4.0.1#{over_tls.NAME}")
    run("networkctl", "reload")
    goes_over_tls("DNSOverTLS=yes of networkd", f"tls://10.4.0.1#{over_tls.NAME}", "systemd-networkd")
    run("systemctl", "stop", "systemd-networkd.socket", "systemd-networkd")
    for file in files.iterdir():
        file.unlink()
    for file in pathlib.Path("/run/systemd/netif/links").iterdir():
        file.unlink()


def network_manager():
    """Alone."""
    conf = pathlib.Path("/etc/NetworkManager/conf.d/90-check.conf")
    conf.parent.mkdir(parents=True, exist_ok=True)
    conf.write_text("[main]\ndns=default\nno-auto-default=*\n[keyfile]\nunmanaged-devices=none\n[device]\nmatch-device=interface-name:*0\nmanaged=1\n")
    run("systemctl", "unmask", "NetworkManager")
    check("NetworkManager starts", run("systemctl", "start", "NetworkManager").returncode == 0)
    for link, words in (("home0", ["ipv4.gateway", "10.0.0.1"]), ("vpn0", ["ipv4.never-default", "yes", "ipv4.dns-search", "~corp.example"])):
        run("nmcli", "device", "set", link, "managed", "yes")
        done = run("nmcli", "connection", "add", "type", "ethernet", "ifname", link, "con-name", "check-" + link, "ipv4.method", "manual", "ipv4.addresses",
                   NETWORKS[link][1], "ipv4.dns", NETWORKS[link][0], "ipv6.method", "disabled", *words)
        done = run("nmcli", "connection", "up", "check-" + link) if done.returncode == 0 else done
        if done.returncode:
            return check(f"NetworkManager brings {link} up", False, done.stderr + done.stdout)

    def change(*words):
        done = [run("nmcli", "connection", "modify", "check-vpn0", *words), run("nmcli", "device", "reapply", "vpn0")]
        check("NetworkManager takes " + " ".join(words), not any(d.returncode for d in done), [d.stderr for d in done])
    in_force("NetworkManager with servers", "public.test", of("home0"))
    in_force("NetworkManager with a VPN", "corp.example", of("vpn0"))
    origins("NetworkManager")
    split()
    full(lambda: change("ipv4.dns-search", "~."), lambda: change("ipv4.dns-search", "~corp.example"))
    split()
    full(lambda: change("ipv4.dns-search", "", "ipv4.dns-priority", "-10"),
         lambda: change("ipv4.dns-search", "~corp.example", "ipv4.dns-priority", "0"))
    resolve_by("nameserver 10.3.0.1\n")
    conf.write_text(conf.read_text().replace("dns=default", "dns=none"))
    run("systemctl", "reload", "NetworkManager")
    in_force("a resolv.conf of the operator", "public.test", of("lab0"))
    goes_to("and a VPN's domain stays its own", "corp.example", "vpn0")


def soon():
    median = statistics.median(TOOK)
    check(f"half of {len(TOOK)} changes are in force within {median:.0f} ms", len(TOOK) > 10 and median < 200, sorted(map(round, TOOK)))


main(prepare, networks, resolved, resolved_over_tls, services_go_and_come, a_link_goes, networkd, network_manager, soon)
