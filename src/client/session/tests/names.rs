//! The name of a user: asked for again, and taken when it becomes free.

use super::*;
use crate::client::limits::MAX_NAME_ATTEMPTS;

#[test]
fn chosen_name_is_requested_again_after_token_expired() {
    let mut client = ScriptedSession::new(true, Some("al"));
    client.receives_welcome(["1.2.3.4:5", "t", "e"], 1, "null");
    client.assert_sends(&["hello", "ping", "set-name"]);
    let data = format!(r#"{{"id":2,"time":"{TIME}","name":"1.2.3.4:5","new_name":"al"}}"#);
    client.receives(&line("renamed", &data));
    assert_eq!(client.session.name.as_deref(), Some("al"));
    client.resumes(2, r#"{"complete":true,"missed":0}"#);
    client.assert_sends(&["hello", "ping"]);
    client.reconnects();
    let resumed = r#"{"complete":false,"oldest":1}"#;
    client.receives_welcome(["1.2.3.4:9", "u", "f"], 1, resumed);
    client.assert_sends(&["hello", "ping", "set-name"]);
    client.receives(&error("name-taken", "set-name"));
    assert_eq!(client.session.naming.rejection.as_deref(), Some("No"));
}

fn left(id: u64, name: &str) -> String {
    presence("left", id, name)
}

/// A client of each dialect whose name of `--name` another user has.
fn whose_name_is_taken() -> [ScriptedSession; 2] {
    let sentence = r#"The name \"Bob\" is taken, or looks like one that is; choose another"#;
    let mut extended = ScriptedSession::new(true, Some("Bob"));
    extended.receives_welcome(["1.2.3.4:5", "t", "e"], 10, "null");
    extended.receives(&error("name-taken", "set-name"));
    let mut basic = ScriptedSession::new(true, Some("Bob"));
    basic.receives(&unmarked());
    basic.receives(&unmarked().replace("1.2.3.4:5 has entered the chat", sentence));
    [extended, basic].map(|mut client| {
        let told = client.updates().concat();
        assert_eq!(told.matches("You get the name").count(), 1, "{told}");
        client.output();
        client
    })
}

#[test]
fn wanted_name_is_asked_for_when_it_may_be_free() {
    let notice = |sentence: &str| unmarked().replace("1.2.3.4:5 has entered the chat", sentence);
    let renamed = |old: &str, new: &str| {
        let data = format!(r#"{{"id":90,"time":"{TIME}","name":"{old}","new_name":"{new}"}}"#);
        line("renamed", &data)
    };
    for (extended, basic, sent) in [
        (left(11, "b0b"), notice("b0b has left the chat"), 1),
        (renamed("BOB", "x"), notice("BOB renamed to x"), 1),
        (left(11, "Bo"), notice("Bo has left the chat"), 0),
        (renamed("x", "Bo"), notice("x renamed to Bo"), 0),
        (
            presence("joined", 11, "Bob"),
            notice("3 users have entered the chat, 12 have left"),
            2,
        ),
    ] {
        for (index, mut client) in whose_name_is_taken().into_iter().enumerate() {
            client.receives([&extended, &basic][index]);
            client.advances(Duration::ZERO);
            // A summary exists in the basic dialect only.
            let is_sent = sent == 1 || sent == 2 && index == 1;
            client.assert_sends(if is_sent { &["set-name"] } else { &[] });
        }
    }
}

#[test]
fn attempts_to_get_a_name_are_few_and_silent() {
    let [mut client, _] = whose_name_is_taken();
    let mut attempts = 0;
    for id in 11..2000 {
        client.receives(&left(id, "Bob"));
        client.receives(&line("pong", "1"));
        client.advances(Duration::from_secs(1));
        if client.output().contains("set-name") {
            attempts += 1;
            client.updates();
            client.receives(&error("name-taken", "set-name"));
            let told = client.updates().concat();
            assert_eq!(
                told.contains("Error"),
                attempts == MAX_NAME_ATTEMPTS,
                "{told}"
            );
        }
    }
    assert_eq!(attempts, MAX_NAME_ATTEMPTS);
}

#[test]
fn user_who_chooses_another_name_keeps_it() {
    for mut client in whose_name_is_taken() {
        client.requests(UserRequest::SetName("Carl".into()));
        client.assert_sends(&["set-name"]);
        client.receives(&left(11, "Bob"));
        client.receives(&unmarked().replace("1.2.3.4:5 has entered", "Bob has left"));
        client.advances(Duration::ZERO);
        client.assert_sends(&[]);
    }
}
