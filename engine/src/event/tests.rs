use super::*;

fn chain(events: &[Event]) -> Vec<Record> {
    let mut previous = GENESIS.to_owned();
    let mut out = Vec::new();
    for (event, seq) in events.iter().zip(1..) {
        let record = Record::follow(&previous, seq, Timestamp::UNIX_EPOCH, event).expect("writes");
        previous.clone_from(&record.hash);
        out.push(record);
    }
    out
}

fn three() -> Vec<Record> {
    chain(&[
        Event::Claimed { owner: "a".into(), epoch: 1 },
        Event::Parked { park: Park::Interrupted, until: None },
        Event::Claimed { owner: "b".into(), epoch: 2 },
    ])
}

#[test]
fn a_chain_verifies_and_reads_back() {
    let records = three();
    verify(GENESIS, 1, &records).expect("intact");
    assert_eq!(records[1].event().expect("reads"), Event::Parked { park: Park::Interrupted, until: None });
}

#[test]
fn every_changed_byte_dropped_or_swapped_record_is_named() {
    let intact = three();
    for index in 0..3 {
        for at in 0..intact[index].body.len() {
            let mut records = intact.clone();
            let mut body = records[index].body.clone().into_bytes();
            body[at] ^= 1;
            records[index].body = String::from_utf8(body).expect("ascii");
            let error = verify(GENESIS, 1, &records).expect_err("damaged");
            assert!(error.message().starts_with(&format!("record {} ", index + 1)), "{error}");
        }
    }
    let mut dropped = intact.clone();
    dropped.remove(1);
    assert!(verify(GENESIS, 1, &dropped).is_err());
    let mut swapped = intact.clone();
    swapped.swap(0, 1);
    assert!(verify(GENESIS, 1, &swapped).is_err());
}

#[test]
fn derived_ids_tell_their_parts_apart() {
    assert_eq!(RunId::derived(&["a", "b"]), RunId::derived(&["a", "b"]));
    assert_ne!(RunId::derived(&["ab", ""]), RunId::derived(&["a", "b"]));
}
