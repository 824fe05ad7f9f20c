"""A path with a delay and loss, in a network namespace of its own: a TUN device that sends every packet back.

    python3 long_path.py DELAY_MS LOSS_PERCENT      # writes a line when the path is there

What is sent to 10.9.0.2 arrives, after the delay, at 10.9.0.1 of the same host, as if 10.9.0.2 had sent it: a server at
10.9.0.1 is reached at 10.9.0.2 by UDP and TCP. Since addresses only change places, checksums stay right. Nobody is at any
other address of 10.9.0.0/24. Needs CAP_NET_ADMIN and /dev/net/tun.
"""
import collections, fcntl, os, random, select, struct, subprocess, sys, time

FAR = bytes([10, 9, 0, 2])

delay, loss = float(sys.argv[1]) / 1000, float(sys.argv[2]) / 100
random.seed(1)
tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
for command in (["link", "set", "lo", "up"], ["addr", "add", "10.9.0.1/24", "dev", "tun0"], ["link", "set", "tun0", "up"]):
    subprocess.run(["ip", *command], check=True)
print("ready", flush=True)
waiting = collections.deque()
while True:
    wait = max(0, waiting[0][0] - time.monotonic()) if waiting else None
    if select.select([tun], [], [], wait)[0]:
        packet = os.read(tun, 65536)
        if packet[0] >> 4 == 4 and packet[16:20] == FAR and random.random() >= loss:
            waiting.append((time.monotonic() + delay, packet[:12] + packet[16:20] + packet[12:16] + packet[20:]))
    while waiting and waiting[0][0] <= time.monotonic():
        os.write(tun, waiting.popleft()[1])
