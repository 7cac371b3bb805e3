//! What the fuzz targets do with bytes; `tests/corpus.rs` does the same with the corpus in every ordinary run.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use talkback_protocol::{
    ClientKey, ClientLine, Moment, ServerLine, UserName,
    codec::{self, Line, TextLimits},
    session::{client, server},
};

use super::ops::{Op, run};

const LIMITS: TextLimits = TextLimits {
    bytes: 1 << 16,
    lines: 1 << 10,
};

/// More operations find nothing that fewer do not, and take long.
const MAX_OPERATIONS: usize = 200;

/// A text is refused with a name, or comes back the same; and no session falls over it.
pub fn codec(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    comes_back_the_same::<ClientLine>(&text);
    comes_back_the_same::<ServerLine>(&text);
    to_a_client(&text);
    to_a_server(&text);
}

/// The first eight bytes are a seed, the others operations.
pub fn operations(data: &[u8]) {
    let Some((seed, data)) = data.split_first_chunk::<8>() else {
        return;
    };
    let mut ops = Op::list(data);
    ops.truncate(MAX_OPERATIONS);
    let result = run(u64::from_le_bytes(*seed), &ops, false, &mut BTreeMap::new());
    assert_eq!(result, Ok(()), "{ops:?}");
}

fn comes_back_the_same<L: Line + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(lines) = codec::decode::<L>(text, LIMITS) else {
        return;
    };
    let mut again = String::new();
    lines.iter().for_each(|line| codec::write_line(&mut again, line));
    let limits = TextLimits {
        bytes: usize::MAX,
        lines: usize::MAX,
    };
    assert_eq!(codec::decode::<L>(&again, limits).as_ref(), Ok(&lines));
}

fn moment() -> Moment {
    Moment {
        now: Duration::from_secs(1),
        random: 1,
    }
}

fn to_a_client(text: &str) {
    let mut session = client::ClientSession::new(client::ClientOptions::default(), ClientKey::from_random([1; 16]));
    session.connect(moment());
    while session.poll_output().is_some() {}
    let generation = 1;
    session.handle(moment(), client::Input::Opened { generation });
    while session.poll_output().is_some() {}
    session.join(moment(), super::room("lobby"), None, None);
    while session.poll_output().is_some() {}
    for text in [text.to_owned(), WELCOME.to_owned(), text.to_owned()] {
        session.handle(moment(), client::Input::Received { generation, text });
        while session.poll_output().is_some() {}
    }
}

const WELCOME: &str = r#"{"welcome":{"user":"ann","sender":"s1","heartbeat_ms":25000,"limits":{"text_bytes":1000,"text_lines":10,"body_bytes":100,"body_depth":8,"rooms":4,"in_flight":3,"page":10,"history":2,"lines_per_second":0,"lines_burst":0,"bytes_per_second":0,"bytes_burst":0,"sent_text_bytes":1000}}}"#;

fn to_a_server(text: &str) {
    let mut session = server::ServerSession::new(Arc::new(server::ServerOptions::default()), Duration::ZERO);
    let hello = r#"{"hello":{"client":"00112233445566778899aabbccddeeff"}}"#;
    for text in [hello, text, text] {
        let text = text.to_owned();
        session.handle(moment(), server::Input::Received { text });
        while let Some(output) = session.poll_output() {
            if let server::Output::Identify { .. } = output {
                let user = UserName::parse("ann").unwrap();
                let identity = server::Identity {
                    user,
                    expires: None,
                    allowance: None,
                };
                session.handle(moment(), server::Input::Identified(Ok(identity)));
            }
        }
    }
}
