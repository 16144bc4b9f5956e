//! How inputs are shown.

use serde_json::{Value, json};
use session::Input;
use timeline::format::log::EventKind;

/// A fixed name for each kind, for programs.
pub fn kind_name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Mark(_) => "mark",
        EventKind::Input(input) => match input {
            Input::SerialByte(_) => "serial",
            Input::PowerButton => "power-button",
            Input::Key(_) => "key",
            Input::Mouse { .. } => "mouse",
            Input::Recording(_) => "recording",
            Input::ClockTo(_) => "clock",
        },
    }
}

/// What an input says beside its kind.
pub fn fields(input: &Input) -> Value {
    match input {
        Input::SerialByte(byte) => json!({ "byte": byte }),
        Input::PowerButton => json!({}),
        Input::Key(bytes) => json!({ "bytes": bytes }),
        Input::Mouse { right, up, wheel, buttons } => {
            json!({ "right": right, "up": up, "wheel": wheel, "buttons": buttons })
        }
        Input::Recording(on) => json!({ "on": on }),
        Input::ClockTo(time) => json!({ "to_virtual_ns": time.as_ns() }),
    }
}

/// One line for people.
pub fn describe(kind: &EventKind) -> String {
    match kind {
        EventKind::Mark(name) => format!("mark {name}"),
        EventKind::Input(input) => match input {
            Input::SerialByte(byte) => format!("serial byte {byte:#04x} {:?}", char::from(*byte)),
            Input::PowerButton => "power button".into(),
            Input::Key(bytes) => format!("key {bytes:02x?}"),
            Input::Mouse { right, up, wheel, buttons } => {
                format!("mouse right {right} up {up} wheel {wheel} buttons {buttons:#b}")
            }
            Input::Recording(on) => format!("the guest was told that it is {}recorded", if *on { "" } else { "not " }),
            Input::ClockTo(time) => format!("clock to {:.6} s", time.as_ns() as f64 / 1e9),
        },
    }
}
