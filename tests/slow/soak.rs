//! Five hundred clients that connect, talk, rename, stall, reset and leave at random, against a
//! model that predicts every line.
//!
//! All clients run in one thread, so that the server has the rest of the machine. A printed seed
//! determines their actions: `SMOLCHAT_SOAK_SEED` repeats it, and `SMOLCHAT_SOAK_SECONDS` sets the
//! duration. In each round, all are connected at the same time once, and all leave at the end.

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
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::pin::pin;
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Clients that are connected at the same time.
const CLIENTS: usize = 500;
/// Default duration.
const SHORT: Duration = Duration::from_secs(15);
/// Longest time of one round on a busy machine.
const ROUND_LIMIT: Duration = Duration::from_secs(180);
/// Receive buffer of narrow clients, in bytes.
const NARROW: usize = 8 * 1024;
/// Longest segment of narrow clients, in bytes.
#[cfg(unix)]
const SEGMENT: u32 = 600;
/// Messages that the server keeps.
const KEPT_MESSAGES: usize = 40;
/// Bytes of the log of a round after which no client talks.
///
/// Less than half of the allowed lag, so that the server evicts no client.
const ROUND_BYTES: usize = 1_500_000;
/// Names for which the clients compete; fewer than clients, so that many are taken.
const NAMES: u64 = 400;
/// Bytes that the server may use at the end beyond those after the first round, when its log is
/// full. The allocator keeps some; past connections must keep none.
const MEMORY_GROWTH: u64 = 4 * 1024 * 1024;

/// Counts what the clients did.
#[derive(Debug, Default)]
struct Counts(RefCell<BTreeMap<&'static str, u64>>);

impl Counts {
    fn add(&self, what: &'static str, number: u64) {
        *self.0.borrow_mut().entry(what).or_default() += number;
    }
}

/// What the clients of a round share.
struct Round {
    server: SocketAddr,
    book: RefCell<Book>,
    /// Connections of each address so far.
    ordinals: RefCell<HashMap<String, usize>>,
    ended: RefCell<Vec<Reader>>,
    /// Open connections.
    open: Cell<usize>,
    /// Whether a client has failed; the executor reports no failure of a detached task.
    has_failed: Cell<bool>,
    /// Clients at the meeting point.
    met: Cell<usize>,
    /// Closed when the clients leave the meeting point.
    meeting: smol::channel::Receiver<()>,
    counts: Rc<Counts>,
    next_id: Rc<Cell<usize>>,
    /// Read buffer of all clients; none holds it while it waits.
    buffer: RefCell<Vec<u8>>,
}

/// One connection.
struct Client {
    round: Rc<Round>,
    stream: Async<TcpStream>,
    reader: Reader,
    random: Random,
}

mod client;

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

/// Gives each connection its own address where all of 127.0.0.0/8 is local.
///
/// Otherwise, after a reset, a connection could get the same port before the server notices.
fn bind_to_own_address(socket: &Socket, id: usize) {
    if cfg!(target_os = "linux") {
        let number = u32::from(Ipv4Addr::new(127, 1, 0, 0)) + id as u32;
        let address = SocketAddr::from((Ipv4Addr::from(number), 0));
        socket.bind(&address.into()).expect("a loopback address");
    }
}

/// Runs the connections of one client in a round, one after the other.
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
        // Nothing is ever sent; closing the channel is the signal.
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

/// Runs one connection of a random kind.
async fn visit(round: &Rc<Round>, random: &mut Random) {
    let mut client = Client::connect(round, random.fork()).await;
    match random.below(10) {
        // Before it reads its own arrival.
        0 => client.break_off().await,
        // Like `printf … | nc`.
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

/// A client that stays for the whole round and fills the book.
struct Observer {
    stream: Async<TcpStream>,
    address: String,
    unfinished: Vec<u8>,
    /// The last list of users.
    users: Option<String>,
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
            users: None,
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
            self.users = book.append(line).or(self.users.take());
        }
        true
    }

    /// Reads until the condition holds.
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

    /// Requests the users until the list has this many: the server notices a reset later.
    async fn wait_for_users(&mut self, round: &Round, number: usize) {
        let expected = format!("Connected users ({number}): ");
        let is_expected = |users: &String| users.starts_with(&expected);
        while !self.users.take().as_ref().is_some_and(is_expected) {
            Timer::after(Duration::from_millis(20)).await;
            let sent = (&self.stream).write_all(&request("users", "")).await;
            sent.expect("the server reads");
            while self.users.is_none() {
                assert!(self.read(round).await, "the observer was closed");
            }
        }
    }
}

/// Plays one round and returns the messages that the server keeps.
async fn play(
    executor: &LocalExecutor<'_>,
    server: SocketAddr,
    past: VecDeque<Vec<u8>>,
    random: &mut Random,
    counts: &Rc<Counts>,
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
        counts: counts.clone(),
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
        // The observer detects a failure.
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
    counts.add("lines of the log", book.len() as u64);
    let past = book.close(&address, &mut readers);
    let lines = readers.iter().map(|reader| reader.lines).sum();
    counts.add("checked lines", lines);
    counts.add("rounds", 1);
    past
}

/// Fills the log of the server before the first measurement of memory, and returns the messages
/// that the server keeps.
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
fn five_hundred_random_clients_share_a_log_and_free_everything() {
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
    let counts = Rc::new(Counts::default());
    let next_id = Rc::new(Cell::new(0));
    let begin = Instant::now();
    let mut past = fill_the_log(&server);
    let mut memory = Vec::new();
    let executor = LocalExecutor::new();
    // The second round is the first to compare.
    while memory.len() < 2 || begin.elapsed() < time {
        let playing = play(
            &executor,
            server.address,
            past,
            &mut random,
            &counts,
            &next_id,
        );
        let limited = or(async { Some(playing.await) }, async {
            Timer::after(ROUND_LIMIT).await;
            None
        });
        past = smol::block_on(executor.run(limited)).unwrap_or_else(|| {
            panic!("a round took longer than {ROUND_LIMIT:?}; the seed is {seed}: {counts:?}")
        });
        memory.push(server.memory_bytes());
        assert!(server.is_running(), "the server ended");
    }
    let end = memory.last().copied().flatten();
    println!(
        "soak: {:?}, {CLIENTS} clients, {counts:?}; {:?} bytes after the first round, {end:?} at the end",
        begin.elapsed(),
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
