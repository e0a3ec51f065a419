//! The actions of one client of the soak.

use super::*;

impl Client {
    /// Connects without reading.
    pub(super) async fn connect(round: &Rc<Round>, mut random: Random) -> Self {
        let id = round.next_id.get();
        round.next_id.set(id + 1);
        let socket =
            Socket::new(Domain::for_address(round.server), Type::STREAM, None).expect("a socket");
        bind_to_own_address(&socket, id);
        if random.happens(30) {
            // A small buffer here, and small segments, for which the server's kernel has a small
            // buffer too: the server has to keep the rest.
            socket.set_recv_buffer_size(NARROW).expect("a small buffer");
            #[cfg(unix)]
            socket.set_tcp_mss(SEGMENT).expect("small segments");
        }
        // On loopback, the kernel connects at once.
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
        round.counts.add("connections", 1);
        round.open.set(round.open.get() + 1);
        Client {
            round: round.clone(),
            stream,
            reader: Reader::new(id, address, ordinal),
            random,
        }
    }

    /// Reads without waiting; false at the end of the stream.
    pub(super) fn read_now(&mut self) -> bool {
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

    /// Reads until the other future is ready.
    pub(super) async fn read_until(&mut self, other: impl Future<Output = ()>) {
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

    /// Reads for a random time, up to this.
    pub(super) async fn read_for(&mut self, most: Duration) {
        let time = self.random.below(most.as_millis() as u64 + 1);
        let time = Duration::from_millis(time);
        self.read_until(async {
            Timer::after(time).await;
        })
        .await;
    }

    /// Reads until the client has arrived and every request is answered.
    pub(super) async fn read_answers(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let is_in_time = Instant::now() < end;
            assert!(is_in_time, "not answered: {:?}", self.reader);
            self.reader.follow(&mut self.round.book.borrow_mut());
            if self.reader.has_arrived() && self.reader.is_answered() {
                return;
            }
            // Received lines can wait for the book, which the observer fills.
            self.read_until(async {
                Timer::after(Duration::from_millis(5)).await;
            })
            .await;
        }
    }

    /// Records a random request and returns its line.
    pub(super) fn make_up(&mut self) -> Vec<u8> {
        let round = self.round.clone();
        let may_talk = round.book.borrow().byte_count() < ROUND_BYTES;
        round.counts.add("requests", 1);
        let (asked, line) = match self.random.below(100) {
            0..60 if may_talk => {
                let text = self.text();
                let line = request("message", &text);
                round.counts.add("messages", 1);
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
                        "reads as the server or its staff",
                    ),
                ]);
                (Request::Refused(part), line.to_vec())
            }
        };
        self.reader.ask(asked);
        line
    }

    pub(super) fn text(&mut self) -> String {
        let rest = match self.random.below(40) {
            0 => "x".repeat(2000),
            1..4 => "\\ \"quoted\"\tand č 🦀 {\"type\":\"message\"}".repeat(3),
            4..20 => "a sentence as people say it, neither long nor short".to_owned(),
            _ => "ok".to_owned(),
        };
        text_of(self.reader.id, self.reader.said, &rest)
    }

    pub(super) fn name(&mut self) -> String {
        let number = self.random.below(NAMES);
        match self.random.below(10) {
            0 => self.reader.address.clone(),
            1 => format!("User-{number}"),
            2 => self.reader.name.to_uppercase(),
            _ => format!("user-{number}"),
        }
    }

    /// Sends up to this many requests in random pieces.
    pub(super) async fn send(&mut self, most: u64) {
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

    /// Does one random action.
    pub(super) async fn act(&mut self) {
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

    /// Sends requests and reads nothing for a random time.
    pub(super) async fn stall(&mut self) {
        self.round.counts.add("stalls", 1);
        self.send(8).await;
        let time = self.random.below(800);
        Timer::after(Duration::from_millis(time)).await;
    }

    /// Closes the sending side, sometimes inside of a line, and reads to the end.
    pub(super) async fn half_close(mut self) {
        self.round.counts.add("half-closes", 1);
        if self.random.happens(20) {
            self.reader.ask(Request::Refused("was not ended"));
            (&self.stream)
                .write_all(b"{\"type\":\"mess")
                .await
                .expect("the server takes it");
        }
        let socket = self.stream.get_ref();
        socket.shutdown(Shutdown::Write).expect("it can be ended");
        let mut end = Timer::after(PATIENCE);
        loop {
            let readable = async {
                self.stream.readable().await.expect("it can be awaited");
                true
            };
            let too_late = async {
                (&mut end).await;
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

    /// Closes without a half-close, sometimes with unread lines and unanswered requests.
    pub(super) async fn break_off(mut self) {
        if self.random.happens(50) {
            self.send(4).await;
        }
        if self.random.happens(70) {
            self.round.counts.add("resets", 1);
            SockRef::from(self.stream.get_ref())
                .set_linger(Some(Duration::ZERO))
                .expect("a linger of zero");
        }
        self.reader.end = End::BrokenOff;
    }

    pub(super) async fn end(mut self) {
        match self.random.below(100) {
            0..40 => {
                self.read_answers().await;
                self.half_close().await;
            }
            40..65 => {
                self.send(5).await;
                self.half_close().await;
            }
            _ => self.break_off().await,
        }
    }
}
