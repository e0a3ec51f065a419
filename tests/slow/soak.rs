//! Five hundred clients that come, talk, rename, stall, break off and leave at random, and a
//! model that knows at every line what has to come.
//!
//! All clients live in one thread, so that the machine belongs to the server. What they do
//! follows from a seed, which is printed: `SMOLCHAT_SOAK_SEED` repeats it, and
//! `SMOLCHAT_SOAK_SECONDS` lets it run longer than a short while. In every round the five
//! hundred are there at the same time once, and everybody has left at the end.

use crate::support::one_log::{Book, End, Reader, Request, text_of};
use crate::support::random::Random;
use crate::support::{PATIENCE, RealServer, request, skip};
use smol::future::or;
use smol::io::AsyncWriteExt;
use smol::{Async, LocalExecutor, Timer};
use smolchat::limits::DEFAULT_MAX_MESSAGE_BYTES;
use smolchat::server::limits::{DEFAULT_BURST_LINES, DEFAULT_MAX_LAG_BYTES, MAX_BATCH_BYTES};
use socket2::{Domain, SockRef, Socket, Type};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::pin::pin;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Clients who are there at the same time.
const CLIENTS: usize = 500;
/// How long it runs unless something else is asked for.
const SHORT: Duration = Duration::from_secs(15);
/// How long one round may take, on a machine that has other things to do.
const ROUND_LIMIT: Duration = Duration::from_secs(180);
/// Receive buffer of the narrow clients, in bytes.
const NARROW: usize = 8 * 1024;
/// Their longest segment, in bytes.
#[cfg(unix)]
const SEGMENT: u32 = 600;
/// Messages that the server keeps.
const KEPT_MESSAGES: usize = 40;
/// Bytes of the log in a round after which nobody says anything more.
///
/// It is less than half of the lag that is allowed, so the server closes nobody for being slow,
/// and what a client gets is known to the end.
const ROUND_BYTES: usize = 1_500_000;
/// Names for which the clients compete: about as many as there are clients, so many are taken.
const NAMES: u64 = 400;
/// What the server may hold at the end beyond what it held after the first round, when its log
/// was full: what its allocator keeps, and nothing for each connection that was there.
const MEMORY_GROWTH: u64 = 4 * 1024 * 1024;

/// What was done.
#[derive(Debug, Default)]
struct Done {
    rounds: Cell<u64>,
    connections: Cell<u64>,
    messages: Cell<u64>,
    requests: Cell<u64>,
    stalls: Cell<u64>,
    resets: Cell<u64>,
    half_closes: Cell<u64>,
    lines: Cell<u64>,
    log_lines: Cell<u64>,
}

fn count(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get() + by);
}

/// What the clients of a round share.
struct Round {
    server: SocketAddr,
    book: RefCell<Book>,
    /// Connections that came so far from each address.
    ordinals: RefCell<HashMap<String, usize>>,
    ended: RefCell<Vec<Reader>>,
    /// Connections that are open.
    open: Cell<usize>,
    /// Whether a client has failed, which the executor tells nobody.
    has_failed: Cell<bool>,
    /// Clients who are at the meeting point.
    met: Cell<usize>,
    /// Closed when all may go on from there.
    meeting: smol::channel::Receiver<()>,
    done: Rc<Done>,
    next_id: Rc<Cell<usize>>,
    /// Where every client reads to; none holds it while it waits.
    buffer: RefCell<Vec<u8>>,
}

/// One connection.
struct Client {
    round: Rc<Round>,
    stream: Async<TcpStream>,
    reader: Reader,
    random: Random,
}

impl Client {
    /// A connection that has not even read its own arrival.
    async fn connect(round: &Rc<Round>, mut random: Random) -> Self {
        let id = round.next_id.get();
        round.next_id.set(id + 1);
        let socket =
            Socket::new(Domain::for_address(round.server), Type::STREAM, None).expect("a socket");
        bind_to_own_address(&socket, id);
        if random.happens(30) {
            // With little room on this side, and small segments, for which the server's kernel
            // makes little room on its own, the server has to keep what is not taken.
            socket.set_recv_buffer_size(NARROW).expect("a small buffer");
            #[cfg(unix)]
            socket.set_tcp_mss(SEGMENT).expect("small segments");
        }
        // On loopback this waits for nothing: the kernel answers at once.
        socket.connect(&round.server.into()).expect("it connects");
        let stream = Async::new(TcpStream::from(socket)).expect("it can be awaited");
        stream.get_ref().set_nodelay(true).expect("no delay");
        let address = stream.get_ref().local_addr().expect("an address");
        let address = address.to_string();
        let ordinal = {
            let mut ordinals = round.ordinals.borrow_mut();
            let next = ordinals.entry(address.clone()).or_insert(0);
            *next += 1;
            *next - 1
        };
        count(&round.done.connections, 1);
        round.open.set(round.open.get() + 1);
        Client {
            round: round.clone(),
            stream,
            reader: Reader::new(id, address, ordinal),
            random,
        }
    }

    /// Reads what there is; false at the end of the stream.
    fn read_now(&mut self) -> bool {
        let mut buffer = self.round.buffer.borrow_mut();
        match self.stream.get_ref().read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                let mut book = self.round.book.borrow_mut();
                self.reader.take(&buffer[..count], &mut book);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(error) => panic!("reader {} cannot read: {error}", self.reader.id),
        }
    }

    /// Reads until something else has happened.
    async fn read_until(&mut self, other: impl Future<Output = ()>) {
        let mut other = pin!(other);
        loop {
            let readable = async {
                self.stream.readable().await.expect("it can be awaited");
                true
            };
            let other = async {
                other.as_mut().await;
                false
            };
            if !or(readable, other).await {
                return;
            }
            let id = self.reader.id;
            assert!(self.read_now(), "reader {id} was closed by the server");
        }
    }

    /// Reads for some time, up to this.
    async fn read_for(&mut self, most: Duration) {
        let time = self.random.below(most.as_millis() as u64 + 1);
        let time = Duration::from_millis(time);
        self.read_until(async {
            Timer::after(time).await;
        })
        .await;
    }

    /// Reads until it has arrived and everything is answered.
    async fn read_answers(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let is_in_time = Instant::now() < end;
            assert!(is_in_time, "not answered: {:?}", self.reader);
            self.reader.follow(&mut self.round.book.borrow_mut());
            if self.reader.has_arrived() && self.reader.is_answered() {
                return;
            }
            // What came may be waiting for the book, which others fill.
            self.read_until(async {
                Timer::after(Duration::from_millis(5)).await;
            })
            .await;
        }
    }

    /// Makes up a request and notes it; gives its line.
    fn make_up(&mut self) -> Vec<u8> {
        let round = self.round.clone();
        let may_talk = round.book.borrow().byte_count() < ROUND_BYTES;
        count(&round.done.requests, 1);
        let (asked, line) = match self.random.below(100) {
            0..60 if may_talk => {
                let text = self.text();
                let line = request("message", &text);
                count(&round.done.messages, 1);
                (Request::Say(text), line)
            }
            60..80 if may_talk => {
                let name = self.name();
                let line = request("set-name", &name);
                (Request::SetName(name), line)
            }
            0..86 => (Request::Users, request("users", "")),
            86..92 => (Request::History, b"{\"type\":\"history\"}\r\n".to_vec()),
            _ => {
                let (line, part) = self.random.one_of::<(&[u8], &str)>(&[
                    (b"{\"type\":\"dance\"}\n", "\"dance\" is unknown"),
                    (b"hello\n", "not valid JSON"),
                    (
                        b"{\"type\":\"message\",\"data\":\" \"}\n",
                        "message is empty",
                    ),
                    (
                        b"{\"type\":\"message\",\"data\":\"\xff\"}\n",
                        "not valid UTF-8",
                    ),
                    (
                        b"\n\n{\"type\":\"set-name\",\"data\":\"[server]\"}\n",
                        "reads as the server's",
                    ),
                ]);
                (Request::Refused(part), line.to_vec())
            }
        };
        self.reader.ask(asked);
        line
    }

    fn text(&mut self) -> String {
        let rest = match self.random.below(40) {
            0 => "x".repeat(2000),
            1..4 => "\\ \"quoted\"\tand č 🦀 {\"type\":\"message\"}".repeat(3),
            4..20 => "a sentence as people say it, neither long nor short".to_owned(),
            _ => "ok".to_owned(),
        };
        text_of(self.reader.id, self.reader.said, &rest)
    }

    fn name(&mut self) -> String {
        let number = self.random.below(NAMES);
        match self.random.below(10) {
            0 => self.reader.address.clone(),
            1 => format!("User-{number}"),
            2 => self.reader.name.to_uppercase(),
            _ => format!("user-{number}"),
        }
    }

    /// Sends a few requests, cut into pieces at random.
    async fn send(&mut self, most: u64) {
        let number = 1 + self.random.below(most);
        let lines: Vec<u8> = (0..number).flat_map(|_| self.make_up()).collect();
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            let length = match self.random.below(4) {
                0 => 1 + self.random.below(rest.len() as u64) as usize,
                _ => rest.len(),
            };
            let (piece, after) = rest.split_at(length);
            (&self.stream)
                .write_all(piece)
                .await
                .expect("the server takes it");
            rest = after;
            smol::future::yield_now().await;
        }
    }

    /// Does something of which it waits for the answer, or nothing.
    async fn act(&mut self) {
        match self.random.below(20) {
            0..12 => {
                self.send(1).await;
                self.read_answers().await;
            }
            12..14 => {
                self.send(12).await;
                self.read_answers().await;
            }
            14..16 => self.send(6).await,
            16..18 => self.stall().await,
            _ => {}
        }
        self.read_for(Duration::from_millis(250)).await;
    }

    /// Asks for much and takes nothing for some time.
    async fn stall(&mut self) {
        count(&self.round.done.stalls, 1);
        self.send(8).await;
        let time = self.random.below(800);
        Timer::after(Duration::from_millis(time)).await;
    }

    /// Ends its sending side, perhaps in the midst of a line, and reads everything that comes.
    async fn half_close(mut self) {
        count(&self.round.done.half_closes, 1);
        if self.random.happens(20) {
            self.reader.ask(Request::Refused("was not ended"));
            (&self.stream)
                .write_all(b"{\"type\":\"mess")
                .await
                .expect("the server takes it");
        }
        let socket = self.stream.get_ref();
        socket.shutdown(Shutdown::Write).expect("it can be ended");
        loop {
            let readable = async {
                self.stream.readable().await.expect("it can be awaited");
                true
            };
            let too_late = async {
                Timer::after(PATIENCE).await;
                false
            };
            let is_in_time = or(readable, too_late).await;
            assert!(is_in_time, "its stream does not end: {:?}", self.reader);
            if !self.read_now() {
                break;
            }
        }
        self.reader.end = End::Clean;
    }

    /// Is gone without a word, perhaps with unread lines and unanswered requests.
    async fn break_off(mut self) {
        if self.random.happens(50) {
            self.send(4).await;
        }
        if self.random.happens(70) {
            count(&self.round.done.resets, 1);
            SockRef::from(self.stream.get_ref())
                .set_linger(Some(Duration::ZERO))
                .expect("a linger of zero");
        }
        self.reader.end = End::BrokenOff;
    }

    async fn end(self) {
        let mut client = self;
        match client.random.below(100) {
            0..40 => {
                client.read_answers().await;
                client.half_close().await;
            }
            40..65 => {
                client.send(5).await;
                client.half_close().await;
            }
            _ => client.break_off().await,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.reader.end == End::Open {
            self.round.has_failed.set(true);
        }
        let nobody = Reader::new(usize::MAX, String::new(), 0);
        let reader = std::mem::replace(&mut self.reader, nobody);
        self.round.open.set(self.round.open.get() - 1);
        self.round.ended.borrow_mut().push(reader);
    }
}

/// Where the whole of 127.0.0.0/8 is this machine, every connection gets an address that no other
/// has: a port may be used again at once after a reset, sooner than the server notices the end.
fn bind_to_own_address(socket: &Socket, id: usize) {
    if cfg!(target_os = "linux") {
        let number = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + id as u32;
        let address = SocketAddr::from((Ipv4Addr::from(number), 0));
        socket.bind(&address.into()).expect("a loopback address");
    }
}

/// The connections of one client in a round, one after the other.
async fn live(round: Rc<Round>, mut random: Random) {
    Timer::after(Duration::from_millis(random.below(1000))).await;
    for _ in 0..random.below(3) {
        visit(&round, &mut random).await;
    }
    let mut client = Client::connect(&round, random.fork()).await;
    client.read_answers().await;
    for _ in 0..random.below(3) {
        client.act().await;
    }
    let sleeps = random.happens(5);
    if !sleeps {
        client.read_answers().await;
    }
    round.met.set(round.met.get() + 1);
    let meeting = round.meeting.clone();
    let all_met = async move {
        // It is closed when all may go on; nothing is ever sent.
        let _ = meeting.recv().await;
    };
    if sleeps {
        all_met.await;
    } else {
        client.read_until(all_met).await;
    }
    for _ in 0..random.below(3) {
        client.act().await;
    }
    client.end().await;
    if random.happens(50) {
        visit(&round, &mut random).await;
    }
}

/// A connection of which nobody knows how long it lasts.
async fn visit(round: &Rc<Round>, random: &mut Random) {
    let mut client = Client::connect(round, random.fork()).await;
    match random.below(10) {
        // Gone before it could read its own arrival.
        0 => client.break_off().await,
        // As `printf … | nc` does it.
        1 => {
            client.send(10).await;
            client.half_close().await;
        }
        _ => {
            client.read_answers().await;
            for _ in 0..random.below(4) {
                client.act().await;
            }
            client.end().await;
        }
    }
}

/// Who is there all the time and fills the book.
struct Observer {
    stream: Async<TcpStream>,
    address: String,
    unfinished: Vec<u8>,
    /// Who is here, as it was told last.
    told: Option<String>,
}

impl Observer {
    async fn connect(round: &Round) -> Self {
        let stream = Async::<TcpStream>::connect(round.server).await;
        let stream = stream.expect("the observer connects");
        let address = stream.get_ref().local_addr().expect("an address");
        let mut this = Observer {
            stream,
            address: address.to_string(),
            unfinished: Vec::new(),
            told: None,
        };
        while round.book.borrow().is_empty() {
            assert!(this.read(round).await, "the observer was closed");
        }
        this
    }

    /// Reads once; false at the end of the stream.
    async fn read(&mut self, round: &Round) -> bool {
        assert!(!round.has_failed.get(), "a client failed: see above");
        self.stream.readable().await.expect("it can be awaited");
        let mut buffer = round.buffer.borrow_mut();
        let count = match self.stream.get_ref().read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("the observer cannot read: {error}"),
        };
        self.unfinished.extend_from_slice(&buffer[..count]);
        let end = self.unfinished.iter().rposition(|&byte| byte == b'\n');
        let rest = self.unfinished.split_off(end.map_or(0, |end| end + 1));
        let lines = std::mem::replace(&mut self.unfinished, rest);
        let mut book = round.book.borrow_mut();
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            if let Some(told) = book.append(line) {
                self.told = Some(told);
            }
        }
        true
    }

    /// Reads until something else has happened.
    async fn read_until(&mut self, round: &Round, mut happened: impl FnMut() -> bool) {
        while !happened() {
            let reading = self.read(round);
            let pause = async {
                Timer::after(Duration::from_millis(5)).await;
                true
            };
            assert!(or(reading, pause).await, "the observer was closed");
        }
    }

    /// Asks who is here until so many are. Who broke off is noticed a moment later.
    async fn wait_for_users(&mut self, round: &Round, number: usize) {
        let expected = format!("Connected users ({number}): ");
        loop {
            self.told = None;
            (&self.stream)
                .write_all(&request("users", ""))
                .await
                .expect("the server takes it");
            while self.told.is_none() {
                assert!(self.read(round).await, "the observer was closed");
            }
            if self
                .told
                .as_ref()
                .is_some_and(|told| told.starts_with(&expected))
            {
                return;
            }
            Timer::after(Duration::from_millis(20)).await;
        }
    }
}

/// One round; gives the messages that the server keeps.
async fn play(
    executor: &LocalExecutor<'_>,
    server: SocketAddr,
    past: VecDeque<Vec<u8>>,
    random: &mut Random,
    done: &Rc<Done>,
    next_id: &Rc<Cell<usize>>,
) -> VecDeque<Vec<u8>> {
    let (go_on, meeting) = smol::channel::bounded(1);
    let round = Rc::new(Round {
        server,
        book: RefCell::new(Book::new(KEPT_MESSAGES, past)),
        ordinals: RefCell::default(),
        ended: RefCell::default(),
        open: Cell::new(0),
        has_failed: Cell::new(false),
        met: Cell::new(0),
        meeting,
        done: done.clone(),
        next_id: next_id.clone(),
        buffer: RefCell::new(vec![0; 64 * 1024]),
    });
    let mut observer = Observer::connect(&round).await;
    let running = Rc::new(Cell::new(CLIENTS));
    for _ in 0..CLIENTS {
        let (living, running) = (live(round.clone(), random.fork()), running.clone());
        let task = executor.spawn(async move {
            living.await;
            running.set(running.get() - 1);
        });
        // A failure in it ends the test, since the executor passes it on.
        task.detach();
    }
    observer
        .read_until(&round, || round.met.get() == CLIENTS)
        .await;
    assert_eq!(round.open.get(), CLIENTS);
    observer.wait_for_users(&round, CLIENTS + 1).await;
    drop(go_on);
    observer.read_until(&round, || running.get() == 0).await;
    assert_eq!(round.open.get(), 0);
    observer.wait_for_users(&round, 1).await;
    let address = observer.address.clone();
    drop(observer);
    let round = Rc::into_inner(round).expect("all clients have ended");
    let (book, mut readers) = (round.book.into_inner(), round.ended.into_inner());
    count(&done.log_lines, book.len() as u64);
    let past = book.close(&address, &mut readers);
    count(&done.lines, readers.iter().map(|reader| reader.lines).sum());
    count(&done.rounds, 1);
    past
}

/// Fills the log of the server, so that it takes its memory before it is measured; gives the
/// messages that the server keeps.
fn fill_the_log(server: &RealServer) -> VecDeque<Vec<u8>> {
    let mut kept = VecDeque::new();
    let mut filled = 0;
    while filled < DEFAULT_MAX_LAG_BYTES + MAX_BATCH_BYTES {
        let mut client = server.connect("filler");
        let lines = DEFAULT_BURST_LINES as usize;
        let text = "x".repeat(DEFAULT_MAX_MESSAGE_BYTES);
        client.send_raw(&request("message", &text).repeat(lines));
        for _ in 0..lines {
            let line = client.next_line().expect("an echo");
            filled += line.len();
            kept.push_back(line);
        }
        kept.drain(..kept.len() - KEPT_MESSAGES);
        client.finish_sending();
        client.expect_end();
    }
    kept
}

fn time_to_run() -> Duration {
    let Ok(text) = std::env::var("SMOLCHAT_SOAK_SECONDS") else {
        return SHORT;
    };
    let seconds = text.parse();
    Duration::from_secs(seconds.unwrap_or_else(|_| {
        panic!("SMOLCHAT_SOAK_SECONDS is {text:?}, not a whole number of seconds")
    }))
}

#[test]
#[ignore = "slow"]
fn five_hundred_at_random_get_one_log_and_leave_nothing_behind() {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of open files can be raised");
    let seed = Random::seed_from("SMOLCHAT_SOAK_SEED");
    let mut random = Random::new(seed);
    let threads = random.one_of(&["1", "4"]);
    println!("SMOLCHAT_SOAK_SEED={seed}, --threads {threads}");
    let time = time_to_run();
    let kept_messages = KEPT_MESSAGES.to_string();
    let mut command = RealServer::command(&[
        "--no-web",
        "--threads",
        threads,
        "--announce-limit",
        "100000",
        "--history",
        &kept_messages,
    ]);
    command.stdout(Stdio::null());
    let mut server = RealServer::from_command(command);
    server.transcript.set_limit(time + ROUND_LIMIT * 2);
    let done = Rc::new(Done::default());
    let next_id = Rc::new(Cell::new(0));
    let begin = Instant::now();
    let mut past = fill_the_log(&server);
    let mut memory = Vec::new();
    let executor = LocalExecutor::new();
    // The first round warms up: without a second there is nothing to compare.
    while memory.len() < 2 || begin.elapsed() < time {
        let playing = play(
            &executor,
            server.address,
            past,
            &mut random,
            &done,
            &next_id,
        );
        let limited = or(async { Some(playing.await) }, async {
            Timer::after(ROUND_LIMIT).await;
            None
        });
        past = smol::block_on(executor.run(limited)).unwrap_or_else(|| {
            panic!("a round took longer than {ROUND_LIMIT:?}; the seed is {seed}: {done:?}")
        });
        memory.push(server.memory_bytes());
        assert!(server.is_running(), "the server ended");
    }
    let end = memory.last().copied().flatten();
    println!(
        "soak: {:?}, {} rounds of {CLIENTS} clients; {} connections, {} requests, {} of them messages; \
         {} stalls, {} resets, {} half-closes; {} lines of the log, {} lines checked; \
         memory {:?} bytes after the first round, {end:?} at the end",
        begin.elapsed(),
        done.rounds.get(),
        done.connections.get(),
        done.requests.get(),
        done.messages.get(),
        done.stalls.get(),
        done.resets.get(),
        done.half_closes.get(),
        done.log_lines.get(),
        done.lines.get(),
        memory[0],
    );
    let (Some(first), Some(end)) = (memory[0], end) else {
        return skip("this system does not tell the memory of a process");
    };
    assert!(
        end <= first + MEMORY_GROWTH,
        "the memory of the server grew by more than {MEMORY_GROWTH} bytes: {memory:?}"
    );
    server.signal("TERM");
    assert!(server.wait(PATIENCE).success());
}
