use super::*;
use crate::chat::username::Username;
use jiff::Timestamp;

fn message(time: &str, author: &str, text: &str) -> Message {
    let time = time.parse().unwrap();
    Message::new(7, time, Username::from_stored(author), text.into())
}

/// Renders messages of a room with two users.
fn page(messages: Vec<Message>, notice: Option<&str>) -> String {
    let user = |name| PresentUser {
        name: Username::from_stored(name),
        since: Timestamp::UNIX_EPOCH,
    };
    let snapshot = Snapshot {
        epoch: "e\"1".into(),
        last: 42,
        users: vec![user("alice"), user("127.0.0.1:50112")],
        messages: messages.into_iter().map(Arc::new).collect(),
        older: 0,
        notice: notice.map(str::to_owned),
    };
    let view = PageView {
        messages: &snapshot.messages,
        ..PageView::default()
    };
    render(&snapshot, &Assets::prepare(), &view)
}

#[test]
fn page_has_the_notice_the_position_in_the_log_and_the_users() {
    let text = page(Vec::new(), None);
    assert!(!text.contains("{{"), "{text}");
    assert!(text.contains("role=\"alert\" hidden></p>"), "{text}");
    assert!(text.contains("data-epoch=\"e&quot;1\" data-last=\"42\""));
    assert!(text.contains("class=\"count\">2</span>"));
    assert!(text.contains("<bdi>alice</bdi></li>\n<li class=\"hue-"));
    let text = page(Vec::new(), Some("no <disk>"));
    let notice = "role=\"alert\">no &lt;disk&gt;</p>";
    assert!(text.contains(notice), "{text}");
}

#[test]
fn each_list_has_a_hundred_users() {
    let user = PresentUser {
        name: Username::from_stored("alice"),
        since: Timestamp::UNIX_EPOCH,
    };
    for (count, expected) in [(0, vec![0]), (100, vec![100]), (201, vec![100, 100, 1])] {
        let mut lists = String::new();
        write_users(&mut lists, &vec![user.clone(); count]);
        assert_eq!(lists.matches("<ul ").count(), expected.len());
        let users = |list: &str| list.matches("alice").count();
        let found: Vec<_> = lists.split_terminator("</ul>").map(users).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn escaping_changes_markup_characters_only() {
    for (text, escaped) in [
        ("a\tb\nc\r\nd", "a\tb\nc&#13;\nd"),
        ("<>&\"'", "&lt;&gt;&amp;&quot;&#39;"),
        ("שלום é 👩‍🚀", "שלום é 👩‍🚀"),
        ("", ""),
    ] {
        let mut out = String::new();
        escape(&mut out, text);
        assert_eq!(out, escaped);
    }
}

#[test]
fn message_row_has_time_author_and_text() {
    let waves = Message {
        action: true,
        ..message("2026-08-20T09:41:12.3456Z", "alice", "a\nb")
    };
    let row = format!(
        "<li id=\"m7\" class=\"line message hue-{} action\"><a class=\"time\" href=\"/m/7\" tabindex=\"-1\">\
         <time datetime=\"2026-08-20T09:41:12.345Z\">09:41</time> </a>\
         <span class=\"colon\">* </span><bdi class=\"author\">alice</bdi><span class=\"colon\"> </span>\
         <span class=\"text\" dir=\"auto\">a\nb</span></li>\n",
        hue("alice")
    );
    let page = page(vec![waves], None);
    assert!(page.contains(&row), "{page}");
}

#[test]
fn rows_are_grouped_by_day_author_and_minute() {
    const DAY: &str = "Thursday 20 August 2026 (UTC)";
    let messages = [
        ("2026-08-20T09:41:00Z", "alice", DAY, ""),
        (
            "2026-08-20T09:41:59Z",
            "alice",
            "",
            " same-author same-minute",
        ),
        ("2026-08-20T09:42:00Z", "alice", "", " same-author"),
        ("2026-08-20T09:42:01Z", "bob", "", ""),
        ("2026-08-20T10:42:01Z", "bob", "", " same-author"),
        ("2026-08-20T23:59:59Z", "alice", "", ""),
        (
            "2026-08-21T00:00:00Z",
            "alice",
            "Friday 21 August 2026 (UTC)",
            "",
        ),
    ];
    let rows = messages.map(|(time, author, ..)| Arc::new(message(time, author, "x")));
    let mut out = String::new();
    write_rows(&mut out, &rows, None);
    let mut lines = out.lines();
    for (time, author, day, classes) in messages {
        if !day.is_empty() {
            let heading = format!("<li class=\"day\"><h3>{day}</h3></li>");
            assert_eq!(lines.next(), Some(&*heading), "{time}");
        }
        let row = lines.next().unwrap();
        let class = format!("class=\"line message hue-{}{classes}\">", hue(author));
        assert!(row.contains(&class), "{time}: {row}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn hues_match_the_script() {
    // FNV-1a, 32 bits: its published test values, modulo 12.
    assert_eq!(hue(""), 0x811c_9dc5 % 12);
    assert_eq!(hue("a"), 0xe40c_292c % 12);
    assert_eq!(hue("foobar"), 0xbf9c_f968 % 12);
}
