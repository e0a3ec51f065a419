//! Streams: what a live stream of the page costs beside a client of the chat.
//!
//! `cargo bench --bench streams -- --help` tells the options. The same load runs twice, once with
//! receivers that are clients of the basic dialect, once with as many live streams; the figure is
//! the CPU time (user and system) of the server process for each delivery. Frames are longer than
//! lines, which is part of what they cost.

#[cfg(target_os = "linux")]
mod common;

#[cfg(target_os = "linux")]
mod streams {
    use super::common::floor::Announce;
    use super::common::process::{cpu_time, waiting_time};
    use super::common::table::{Goal, Metric, Sample, Table, Unit, Workload};
    use super::common::{Options, OrSay, Result, Target, fail, interleave};
    use async_net::TcpStream;
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    use smol::Executor;
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    const SIDES: [&str; 2] = ["clients", "streams"];

    /// What a receiver has in its buffer at most.
    const BUFFER_BYTES: usize = 64 * 1024;
    /// Messages before the talker waits for the echo of the first of them.
    const WINDOW: u64 = 16;
    /// Stands in every message that is counted, and in no other text.
    const MARK: &[u8] = b"counted~";
    /// Stands in the last one.
    const END: &[u8] = b"the~end";

    pub(super) fn measure(options: &Options) -> Result<Table> {
        let receivers = options.receivers_or(1000);
        let each = |title: &str, window| {
            let metrics = vec![Metric::new(
                "CPU per delivery",
                Unit::Time,
                Goal::Times(1.25),
            )];
            (
                Workload::new(format!("{receivers} receivers, {title}"), metrics),
                window,
            )
        };
        let mut workloads = vec![each("busy", WINDOW), each("one message in flight", 1)];
        interleave(options, SIDES, &mut workloads, |window, side| {
            sample(options, receivers, *window, side == 1)
        })?;
        let done = workloads.into_iter().map(|(workload, _)| workload);
        Ok(Table::new(
            "Live streams beside clients",
            SIDES,
            done.collect(),
        ))
    }

    fn sample(options: &Options, receivers: usize, window: u64, streams: bool) -> Result<Sample> {
        let program = options.start(Target::Server, Announce::Newcomer)?;
        let page = program.page_address()?;
        let executor = Executor::new();
        let load = async {
            let mut counting = Vec::new();
            for _ in 0..receivers {
                let ready = match streams {
                    true => begin_stream(page).await?,
                    false => begin_client(program.address()).await?,
                };
                counting.push(executor.spawn(count(ready)));
            }
            let mut talker = begin_client(program.address()).await?;
            let before = (cpu_time(program.pid())?, waiting_time(program.pid())?);
            let messages = talk(&mut talker, window, options.seconds_or(2.0)).await?;
            let mut verified = 0;
            for counted in counting {
                let counted = counted.await?;
                if counted != messages {
                    return fail(format!("a receiver got {counted} of {messages} messages"));
                }
                verified += counted;
            }
            let cpu = cpu_time(program.pid())? - before.0;
            let each = cpu.as_nanos() as f64 / verified.max(1) as f64;
            let waited = waiting_time(program.pid())? - before.1;
            Ok(Sample {
                values: vec![each],
                verified,
                waited: waited.as_secs_f64() / cpu.as_secs_f64().max(1e-9),
                remark: format!("{each:.0} ns each, {messages} messages"),
            })
        };
        let outcome = smol::block_on(executor.run(load));
        program.explain(outcome)
    }

    async fn connect(address: SocketAddr) -> Result<TcpStream> {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > end => {
                    return Err(error).or_say(|| format!("cannot connect to {address}"));
                }
                // The page listens a moment later than the chat.
                Err(_) => smol::Timer::after(Duration::from_millis(10)).await,
            };
        }
    }

    /// A client that is in the room.
    async fn begin_client(address: SocketAddr) -> Result<TcpStream> {
        let mut stream = connect(address).await?;
        read_to(&mut stream, b"has entered the chat").await?;
        Ok(stream)
    }

    /// A stream that goes on live.
    async fn begin_stream(address: SocketAddr) -> Result<TcpStream> {
        let mut stream = connect(address).await?;
        let request = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let sent = stream.write_all(request).await;
        sent.or_say(|| "cannot ask for a stream".to_owned())?;
        read_to(&mut stream, b"event: session").await?;
        Ok(stream)
    }

    /// Reads until these bytes have come; what comes with them is not looked at.
    async fn read_to(stream: &mut TcpStream, wanted: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while memchr::memmem::find(&bytes, wanted).is_none() {
            let count = read(stream, &mut buffer).await?;
            bytes.extend_from_slice(&buffer[..count]);
        }
        Ok(())
    }

    async fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
        let read = stream.read(buffer).await;
        match read.or_say(|| "a receiver cannot read".to_owned())? {
            0 => fail("the server ended a connection"),
            count => Ok(count),
        }
    }

    /// Counts the messages that come until the last.
    async fn count(mut stream: TcpStream) -> Result<u64> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut carried = 0;
        let mut counted = 0;
        loop {
            let end = carried + read(&mut stream, &mut buffer[carried..]).await?;
            counted += memchr::memmem::find_iter(&buffer[..end], MARK).count() as u64;
            if memchr::memmem::find(&buffer[..end], END).is_some() {
                return Ok(counted);
            }
            // Less than a mark, so that none is counted twice.
            carried = end.min(MARK.len() - 1);
            buffer.copy_within(end - carried..end, 0);
        }
    }

    /// Says messages of a hundred bytes, each window at once; gives how many.
    async fn talk(talker: &mut TcpStream, window: u64, seconds: f64) -> Result<u64> {
        let filling = "x".repeat(80);
        let mark = String::from_utf8_lossy(MARK);
        let line = format!("{{\"type\":\"message\",\"data\":\"{mark}{filling}\"}}\n");
        let batch = line.repeat(usize::try_from(window).unwrap_or(1));
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut said = 0;
        while Instant::now() < end {
            write(talker, batch.as_bytes()).await?;
            said += window;
            let mut heard = 0;
            while heard < window {
                let count = read(talker, &mut buffer).await?;
                heard += memchr::memchr_iter(b'\n', &buffer[..count]).count() as u64;
            }
        }
        let last = String::from_utf8_lossy(END);
        let line = format!("{{\"type\":\"message\",\"data\":\"{last}\"}}\n");
        write(talker, line.as_bytes()).await?;
        Ok(said)
    }

    async fn write(talker: &mut TcpStream, bytes: &[u8]) -> Result<()> {
        let written = talker.write_all(bytes).await;
        written.or_say(|| "the talker cannot write".to_owned())
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    common::start("streams", streams::measure)
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("streams: this benchmark reads /proc and needs Linux");
}
