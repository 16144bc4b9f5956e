//! Recordings that were changed, damaged or made for another program or host: the program says what is wrong, and what
//! is needed.

mod recording_support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use recording_support::{json, recorded, scratch};
use timeline::format::block::{self, Kind};
use timeline::format::log::{self, EventKind};
use timeline::format::preamble::PREAMBLE_BYTES;
use timeline::format::records::{CheckpointRecord, LogRecord, RecordingHeader};
use timeline::reader::Reader;
use timeline::{Recording, Replayer, Target};
use vm_tests::{Guest, Program, bare_metal};

/// What becomes of a block's payload; `None`: it stays.
type Change<'a> = dyn Fn(Kind, &[u8]) -> Option<Vec<u8>> + 'a;

/// The recording with the payload of each block changed, the checksums put right, and without its index.
fn altered(bytes: &[u8], change: &Change<'_>) -> Vec<u8> {
    let reader = Reader::new(Box::new(bytes.to_vec())).expect("memory can be read");
    let mut result = bytes[..PREAMBLE_BYTES].to_vec();
    for (number, place) in reader.walk().expect("memory can be read").blocks.iter().enumerate() {
        let (header, payload) = reader.payload(place).expect("the block is whole");
        let kind = header.kind.expect("a known kind");
        if kind != Kind::Index {
            let payload = change(kind, &payload).unwrap_or(payload);
            result.extend(block::encode(kind, number as u32, &payload));
        }
    }
    result
}

fn with_header(bytes: &[u8], change: &dyn Fn(&mut RecordingHeader)) -> Vec<u8> {
    altered(bytes, &|kind, payload| {
        (kind == Kind::Header).then(|| {
            let mut header = RecordingHeader::decode(payload).expect("a header");
            change(&mut header);
            header.encode_to_vec()
        })
    })
}

fn with_version(bytes: &[u8], major: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[8] = major;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Writes `bytes` into a new file.
fn file(bytes: &[u8]) -> String {
    let path = scratch("altered.cvr");
    std::fs::write(&path, bytes).expect("the scratch directory can be written");
    path
}

#[test]
fn what_cannot_be_replayed_is_refused_with_what_is_needed() {
    let (original, _) = recorded();
    let original = std::fs::read(&original).expect("the recording");
    let mut damaged = original.clone();
    damaged[10] ^= 0x40;
    let mut header = original.clone();
    header[PREAMBLE_BYTES + 40] ^= 0x40;
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        (
            "a newer version",
            with_version(&original, 3),
            &["format version 3.", "reads up to version 1", "use a newer chronovisor"],
        ),
        (
            "an unknown feature",
            with_header(&original, &|header| header.features.push("wide-time".into())),
            &["needs \"wide-time\"", "use a newer chronovisor"],
        ),
        (
            "an unknown CPU model",
            with_header(&original, &|header| header.config.as_mut().expect("a machine").cpu_level = 5),
            &["x86-64-v5", "use a newer chronovisor"],
        ),
        ("damaged first bytes", damaged, &["first bytes of the recording are damaged", "use another copy"]),
        ("a damaged header", header, &["nothing to replay", "the block at byte 80 is damaged: its checksum is wrong"]),
        ("no recording", std::fs::read("/proc/self/exe").expect("this program"), &["this is not a recording"]),
        ("an empty file", Vec::new(), &["the file is empty"]),
        ("a cut initial state", original[..2000].to_vec(), &["ends before its initial state is whole"]),
    ];
    for (what, bytes, sentences) in cases {
        let path = file(&bytes);
        for command in ["replay", "verify"] {
            let outcome = Program::new(&[command, &path]).run().expect_status(2);
            assert_eq!(outcome.console, "", "{command} {what}");
            assert_eq!(outcome.errors.trim_end().lines().count(), 1, "{command} {what}: {}", outcome.errors);
            // A CPU model is looked at when the file was opened already.
            assert!(outcome.errors.contains(&path) || what.contains("CPU"), "{command} {what}: {}", outcome.errors);
            for sentence in sentences {
                assert!(outcome.errors.contains(sentence), "{command} {what}: {}", outcome.errors);
            }
        }
    }
}

/// Keeps each byte that it gets in memory, until 'q'.
fn keeping() -> PathBuf {
    bare_metal::build(
        "
        serial_on
        mov $kept, %edi
    1:  getc
        mov %al, (%edi)
        inc %edi
        mov $2000, %ecx
    2:  add %ecx, %esi
        loop 2b
        cmp $'q', %al
        jne 1b
        debug_exit $0
        .bss
    kept: .skip 4096
        .text
    ",
    )
}

#[test]
fn verify_names_the_instruction_that_an_altered_byte_shows_in() {
    let original = scratch("kept.cvr");
    let options = &["--debug-exit", "--record", &original];
    Guest::kernel(&keeping()).options(options).stdin_file("this is kept, q").run().expect_status(1);
    Program::new(&["verify", &original]).run().expect_status(0);
    let bytes = std::fs::read(&original).expect("the recording");
    let path = file(&altered(&bytes, &|kind, payload| {
        let record = (kind == Kind::Log).then(|| LogRecord::decode(payload).expect("a log"))?;
        let (first, mut events) = (record.first, Vec::new());
        log::decode(LogRecord { first: 0, ..record }, &mut events).expect("a log");
        for (number, event) in (first..).zip(&mut events) {
            if number == 8 {
                event.kind = EventKind::Input(machine::Input::SerialByte(b'#'));
            }
        }
        Some(log::encode(&events, first)?.encode_to_vec())
    }));
    let outcome = Program::new(&["verify", &path]).run().expect_status(1);
    for part in ["recorded 6b, replayed 23", "88 07  mov [edi],al", "input number 8 (serial byte 0x23)"] {
        assert!(outcome.console.contains(part), "{part}: {}", outcome.console);
    }
    let report = json(&Program::new(&["verify", &path, "--json", "--jobs", "2"]).run().expect_status(1).console);
    let (difference, trace) = (&report["difference"], &report["difference"]["details"]["traces"][0]);
    assert_eq!((&difference["cause"], &difference["what"][0]["recorded"]), (&"recorded".into(), &"6b".into()));
    assert_eq!(
        (&trace["step"]["text"], &trace["input_before"]["input"]["number"]),
        (&"mov [edi],al".into(), &8.into())
    );
    // The instruction that was named is the one that stores: behind it there is the byte.
    let at = trace["step"]["insns"].as_u64().expect("a number");
    let rip = trace["step"]["rip"].as_u64().expect("an address");
    let recording = Arc::new(Recording::open(Path::new(&path)).expect("it opens"));
    let mut replayer = Replayer::new(recording).expect("a replayer");
    let mut stored = |insns| {
        replayer.seek(Target::Insns(insns)).expect("in the recording");
        let address = replayer.machine().save().vcpus[0].gpr[7] as usize;
        (replayer.machine().save().vcpus[0].rip, replayer.machine().ram_bytes()[address])
    };
    assert_eq!(stored(at), (rip, 0));
    assert_eq!(stored(at + 1), (rip + 2, b'#'));
}

#[test]
fn verify_names_the_field_of_an_altered_state() {
    let (original, _) = recorded();
    let bytes = std::fs::read(&original).expect("the recording");
    let path = file(&altered(&bytes, &|kind, payload| {
        let mut record =
            (kind == Kind::Checkpoint).then(|| CheckpointRecord::decode(payload).expect("a checkpoint"))?;
        record.state.as_mut()?.vcpus[0].gpr[6] ^= 2;
        Some(record.encode_to_vec())
    }));
    let outcome = Program::new(&["verify", &path]).run().expect_status(1);
    assert!(outcome.console.contains("is not the one its digest was taken of"), "{}", outcome.console);
    let report = json(&Program::new(&["verify", &path, "--json"]).run().expect_status(1).console);
    assert_eq!((&report["same"], &report["difference"]["cause"]), (&false.into(), &"altered-state".into()));
}
