use super::*;
use crate::server::limits::Limits;
use smol::Async;
use std::net::{TcpListener, TcpStream};

#[test]
fn panic_in_a_connection_is_reported_as_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, address) = listener.accept().unwrap();
    let handle = ConnectionHandle::new(Async::new(socket).unwrap(), address);
    let (inbox, commands) = async_channel::bounded(1);
    let context = ServerContext::for_test(Limits::default(), inbox);
    let key = ClientKey(7);
    let reason = smol::block_on(async {
        let panicking = AssertUnwindSafe(async { panic!("a test") });
        let outcome = panicking.catch_unwind().await;
        report_end(&context, key, &handle, outcome).await
    });
    assert_eq!(reason, CloseReason::Fault);
    let command = commands.try_recv().unwrap();
    assert!(matches!(command, BrokerCommand::Ended(ended, CloseReason::Fault) if ended == key));
    assert_eq!(
        (&client).read(&mut [0]).unwrap(),
        0,
        "the socket is shut down"
    );
}

#[test]
fn half_close_wins_over_a_write_failure_except_a_dead_peer() {
    use CloseReason::{Closed, DeadPeer, Fault, Lag, Lost, Reset};
    for (read, write, expected) in [
        (Closed, None, Closed),
        (Closed, Some(Reset), Closed),
        (Closed, Some(DeadPeer), DeadPeer),
        (Lost, Some(Lag), Lag),
        (Fault, Some(Lag), Fault),
    ] {
        assert_eq!(reconcile_close_reason(read, write), expected);
    }
}
