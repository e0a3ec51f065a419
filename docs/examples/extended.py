"""A chat client that loses nothing, whatever happens to the link or to the server. Lines of
standard input are said, what is said is printed: python3 extended.py HOST PORT [NAME]"""
import json, queue, socket, sys, threading, time, uuid
host, port, name = sys.argv[1], int(sys.argv[2]), (sys.argv[3:] or [None])[0]
token = epoch = None   # who we are, and whose past it is
last = 0               # the newest event that we have
unsaid = []            # (nonce, text) that the server has not acknowledged, in order
typed = queue.Queue()  # lines of the input; None at its end

def read_input():
    for line in sys.stdin:
        typed.put(line.rstrip("\n"))
    typed.put(None)

def lines_of(connection):
    """Whole lines as they come; None whenever nothing came for a moment."""
    buffer = b""
    while True:
        try:
            if not (piece := connection.recv(65536)):
                return
            *whole, buffer = (buffer + piece).split(b"\n")
            yield from whole
        except TimeoutError:
            yield None

def talk(connection):
    """Talks until the link ends; gives how long to wait before the next, or None to end."""
    global token, epoch, last
    def send(kind, data):
        connection.sendall(json.dumps({"type": kind, "data": data}).encode() + b"\n")
    def say(nonce, text):
        send("message", {"message": text, "nonce": nonce})
    wait, is_welcome, has_input, lines = 1, False, True, lines_of(connection)
    if not next(filter(None, lines), b"").endswith(b" "):  # the mark of a server that knows it
        sys.exit("this server does not know the extended dialect, or has no room")
    again = {"token": token, "after": {"epoch": epoch, "id": last}} if token else {}
    send("hello", {"version": 2, "client": "extended.py/1", **again})
    for line in lines:
        kind, data = json.loads(line).values() if line else (None, None)
        if kind == "welcome":
            if data.get("resumed", {}).get("complete") is False:
                print("(something is missing here)", flush=True)
                last = data["resumed"]["oldest"] - 1
            elif not token:
                last = data["last"]
                send("set-name", name) if name else None
            token, epoch, is_welcome = data["token"], data["epoch"], True
            if data.get("known") is False and unsaid:  # the nonces are forgotten, too
                print("(perhaps said:)", *(text for _, text in unsaid), sep="\n", flush=True)
                unsaid.clear()
            for nonce, text in unsaid:  # what may be lost; it is said once all the same
                say(nonce, text)
        elif is_welcome and kind in ("message", "joined", "left", "renamed") and "id" in data:
            last = data["id"]
            if kind == "message":
                print(f"{data['source']}: {data['message']}", flush=True)
        elif kind == "ack":
            unsaid[:] = [each for each in unsaid if each[0] != data["nonce"]]
        elif kind == "error":
            sys.exit(data["message"])
        elif kind == "bye":
            wait = data["retry_after_ms"] / 1000 if data["reconnect"] else None
        while is_welcome and has_input and not typed.empty():
            text = typed.get()
            has_input = text is not None
            if has_input and text.strip():
                unsaid.append((uuid.uuid4().hex, text))
                say(*unsaid[-1])
        if not has_input and not unsaid:
            return send("quit", "")
    return wait

threading.Thread(target=read_input, daemon=True).start()
wait = 0
while wait is not None:
    time.sleep(wait)
    try:
        with socket.create_connection((host, port), timeout=0.2) as connection:
            wait = talk(connection)
    except OSError:
        wait = 1
