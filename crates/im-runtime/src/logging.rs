//! Logs: one line per event on stderr, as text for people or JSON for machines, with a filter that
//! can be changed while running.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::TryInitError,
};

use crate::settings::{Invalid, SettingValue};

crate::setting_choice! {
    /// The shape of a log line.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

/// What is logged: a level (`info`) or directives (`warn,gate=debug`), already checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    fn directives(&self) -> EnvFilter {
        EnvFilter::try_new(&self.0).expect("directives were checked when they were read")
    }
}

impl SettingValue for LogFilter {
    const KIND: &'static str = "a log level or directives such as info or warn,gate=debug";

    fn from_text(text: &str) -> Result<Self, Invalid> {
        match EnvFilter::try_new(text) {
            // An empty filter would silently log errors only.
            Ok(_) if !text.trim().is_empty() => Ok(Self(text.to_owned())),
            _ => Err(Invalid::text(text, Self::KIND)),
        }
    }

    fn to_toml(&self) -> String {
        self.0.to_toml()
    }
}

/// Changes the filter of a running process.
#[derive(Clone, Debug)]
pub struct LogHandle(reload::Handle<EnvFilter, Registry>);

impl LogHandle {
    /// From now on `filter` decides. Does nothing when the subscriber is gone already, which only
    /// happens in tests.
    pub fn set(&self, filter: &LogFilter) {
        let _ = self.0.reload(filter.directives());
    }
}

/// Starts logging for the whole process. Fails when something else did so before.
pub fn init(format: LogFormat, filter: &LogFilter) -> Result<LogHandle, TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let colours = std::io::stderr().is_terminal();
    let (subscriber, handle) = subscriber(format, filter, colours, std::io::stderr);
    subscriber.try_init()?;
    Ok(handle)
}

/// The subscriber behind [`init`], with a writer of the caller's choice.
pub fn subscriber<W>(
    format: LogFormat,
    filter: &LogFilter,
    colours: bool,
    writer: W,
) -> (impl Subscriber + Send + Sync + 'static, LogHandle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter.directives());
    let lines = match format {
        LogFormat::Text => fmt::layer().with_ansi(colours).with_writer(writer).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    };
    (Registry::default().with(filter).with(lines), LogHandle(handle))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::{LogFilter, LogFormat, subscriber};
    use crate::settings::SettingValue;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn filter(text: &str) -> LogFilter {
        LogFilter::from_text(text).unwrap()
    }

    #[test]
    fn the_filter_can_be_changed_while_running() {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, handle) = subscriber(LogFormat::Text, &filter("warn"), false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("unheard");
            assert_eq!(page.take(), "");
            handle.set(&filter("info"));
            tracing::info!(port = 8910, "heard");
            let line = page.take();
            assert!(line.contains(" INFO ") && line.ends_with(" heard port=8910\n"), "{line}");
        });
    }

    #[test]
    fn json_lines_are_flat_objects() {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, _handle) = subscriber(LogFormat::Json, &filter("info"), true, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || tracing::info!(port = 8910, "heard"));
        let line = page.take();
        assert!(line.starts_with('{') && line.ends_with("}\n"), "{line}");
        assert!(line.contains("\"message\":\"heard\",\"port\":8910"), "{line}");
    }

    #[test]
    fn a_bad_filter_is_refused_when_it_is_read() {
        for bad in ["", " ", "gate=loud", "=info=", "info,gate=[debug"] {
            assert!(LogFilter::from_text(bad).is_err(), "{bad:?}");
        }
        for good in ["info", "warn,gate=debug", "off", "im_link[conn{id=7}]=trace"] {
            assert!(LogFilter::from_text(good).is_ok(), "{good:?}");
        }
    }
}
