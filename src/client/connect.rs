//! Connecting to a server by name, by RFC 8305 ("Happy Eyeballs").

use crate::chat::sanitize::for_terminal;
use crate::cli::socket;
use crate::client::limits::{ATTEMPT_DELAY, CONNECT_TIMEOUT, MAX_ADDRESSES};
use crate::client::options::ClientConfig;
use async_net::TcpStream;
use futures_lite::FutureExt;
use futures_lite::future::{or, pending, poll_fn};
use smol::Timer;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Connects to the first address of the host that answers, and stores that address. The stored
/// address is tried first, so the caller clears it after a connection that admitted nobody. An error is one sentence with a remedy.
pub(crate) async fn connect(
    config: &ClientConfig,
    last: &mut Option<SocketAddr>,
) -> Result<TcpStream, String> {
    let resolved = async_net::resolve((config.host.as_str(), config.port)).await;
    let addresses = in_order(&resolved.unwrap_or_default(), *last);
    match race(&addresses, ATTEMPT_DELAY, connect_to).await {
        Ok((address, stream)) => {
            *last = Some(address);
            Ok(stream)
        }
        Err(failures) => Err(sentence(&config.host, config.port, &failures)),
    }
}

/// Returns the addresses in the order of the attempts: the last one that worked, then IPv6 and
/// IPv4 in turns.
fn in_order(resolved: &[SocketAddr], last: Option<SocketAddr>) -> Vec<SocketAddr> {
    let mut ranks = [0, 0];
    let mut ranked = Vec::new();
    for address in resolved {
        let family = usize::from(address.is_ipv4() != resolved[0].is_ipv4());
        if ranked.iter().all(|(_, known)| known != address) {
            ranks[family] += 1;
            ranked.push(((Some(*address) != last, ranks[family], family), *address));
        }
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let addresses = ranked.into_iter().map(|(_, address)| address);
    addresses.take(MAX_ADDRESSES).collect()
}

type Failure = (SocketAddr, io::Error);

/// An attempt with the index of its address.
type Attempt<'a, Stream> = (
    usize,
    Pin<Box<dyn Future<Output = io::Result<Stream>> + 'a>>,
);

/// Attempts the addresses in turn, each at most `delay` after the one before, and drops all
/// attempts when the first succeeds. Failures have the order of the addresses.
async fn race<'a, Stream, Attempting>(
    addresses: &[SocketAddr],
    delay: Duration,
    attempt: impl Fn(SocketAddr) -> Attempting,
) -> Result<(SocketAddr, Stream), Vec<Failure>>
where
    Attempting: Future<Output = io::Result<Stream>> + 'a,
{
    let mut failures = Vec::new();
    let mut running = Vec::new();
    let mut waiting = addresses.iter().enumerate();
    loop {
        if let Some((index, address)) = waiting.next() {
            running.push((index, Box::pin(attempt(*address)) as Pin<Box<_>>));
        }
        if running.is_empty() {
            failures.sort_by_key(|(index, _)| *index);
            let failures = failures.into_iter();
            return Err(failures.map(|(at, error)| (addresses[at], error)).collect());
        }
        let ended = poll_fn(|context| first_ended(&mut running, context));
        let next = async {
            if waiting.len() == 0 {
                return pending().await;
            }
            Timer::after(delay).await;
            None
        };
        match or(ended, next).await {
            Some((index, Ok(stream))) => return Ok((addresses[index], stream)),
            Some((index, Err(error))) => failures.push((index, error)),
            None => {}
        }
    }
}

/// Removes the first attempt that has ended, and returns its result.
fn first_ended<Stream>(
    running: &mut Vec<Attempt<'_, Stream>>,
    context: &mut Context<'_>,
) -> Poll<Option<(usize, io::Result<Stream>)>> {
    for (at, (index, attempt)) in running.iter_mut().enumerate() {
        if let Poll::Ready(result) = attempt.as_mut().poll(context) {
            let index = *index;
            drop(running.remove(at));
            return Poll::Ready(Some((index, result)));
        }
    }
    Poll::Pending
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let timeout = async {
        Timer::after(CONNECT_TIMEOUT).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    let stream = TcpStream::connect(address).or(timeout).await?;
    socket::prepare(&socket2::SockRef::from(&stream));
    Ok(stream)
}

/// Returns the error: why each address failed, unless the host is its only address.
fn sentence(host: &str, port: u16, failures: &[Failure]) -> String {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for (address, error) in failures {
        let (reason, address) = (reason(error), address.ip().to_string());
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, addresses)) => addresses.push(address),
            None => reasons.push((reason, vec![address])),
        }
    }
    let is_address = host.parse::<IpAddr>().is_ok();
    let host = for_terminal(host);
    let reasons: Vec<String> = reasons
        .into_iter()
        .map(|(reason, addresses)| match is_address {
            true => reason,
            false => format!("{reason} ({})", addresses.join(", ")),
        })
        .collect();
    let has = |kind| failures.iter().any(|(_, error)| error.kind() == kind);
    let remedy = if failures.is_empty() {
        let sentence = "no address is known for that name; check the name";
        return format!("Cannot find {host}: {sentence}");
    } else if has(io::ErrorKind::ConnectionRefused) {
        format!("check the port, or start smolchat-server --port {port}")
    } else if has(io::ErrorKind::TimedOut) {
        "check the address and whether a firewall is in between".to_owned()
    } else {
        "check the address and the network".to_owned()
    };
    let place = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    format!(
        "Cannot connect to {place}: {}; {remedy}",
        reasons.join(", ")
    )
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn addresses(words: &str) -> Vec<SocketAddr> {
        let addresses = words.split_whitespace();
        addresses
            .map(|word| SocketAddr::new(word.parse().unwrap(), 5555))
            .collect()
    }

    #[test]
    fn families_take_turns_behind_the_last_address() {
        let resolved = addresses("::1 ::2 ::3 10.0.0.1 ::1 10.0.0.2");
        let last = addresses("10.0.0.2").pop();
        let unknown = addresses("10.0.0.9").pop();
        for (last, expected) in [
            (None, "::1 10.0.0.1 ::2 10.0.0.2 ::3"),
            (unknown, "::1 10.0.0.1 ::2 10.0.0.2 ::3"),
            (last, "10.0.0.2 ::1 10.0.0.1 ::2 ::3"),
        ] {
            assert_eq!(in_order(&resolved, last), addresses(expected));
        }
        let many: Vec<_> = (0..99)
            .map(|port| SocketAddr::from(([10, 0, 0, 1], port)))
            .collect();
        assert_eq!(in_order(&many, None), many[..MAX_ADDRESSES]);
    }

    #[test]
    fn dead_and_failed_addresses_do_not_hold_up_the_next() {
        let all = &addresses("::1 10.0.0.1 ::2 10.0.0.2");
        let hour = Duration::from_secs(3600);
        for (first, delay) in [(None, ATTEMPT_DELAY), (Some("failed"), hour)] {
            let started = Cell::new(0);
            let won = smol::block_on(race(all, delay, |address| {
                started.set(started.get() + 1);
                async move {
                    match (address == all[1], first) {
                        (true, _) => Ok(()),
                        (false, Some(reason)) => Err(io::Error::other(reason)),
                        (false, None) => pending().await,
                    }
                }
            }));
            assert_eq!(won.unwrap(), (all[1], ()));
            assert_eq!(started.get(), 2);
        }
    }

    #[test]
    fn error_names_every_address_with_its_reason() {
        let all = addresses("::1 10.0.0.1 10.0.0.2");
        let failures = smol::block_on(race(&all, ATTEMPT_DELAY, |address| async move {
            // The first address fails last.
            match address.is_ipv6() {
                true => {
                    Timer::after(ATTEMPT_DELAY * 2).await;
                    Err::<(), _>(io::ErrorKind::TimedOut.into())
                }
                false => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        }));
        let failures = failures.unwrap_err();
        for (host, failures, expected) in [
            (
                "chat.lab",
                &failures[..],
                "Cannot connect to chat.lab:5555: no answer (::1), nobody listens there \
                 (10.0.0.1, 10.0.0.2); check the port, or start smolchat-server --port 5555",
            ),
            (
                "::1",
                &failures[..1],
                "Cannot connect to [::1]:5555: no answer; check the address and whether a \
                 firewall is in between",
            ),
            (
                "x",
                &[],
                "Cannot find x: no address is known for that name; check the name",
            ),
        ] {
            assert_eq!(sentence(host, 5555, failures), expected);
        }
    }
}
