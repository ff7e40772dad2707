//! Panics of simulated software. The runtime catches what a spawned task throws, so a tier could
//! panic and the world go on; this makes it known.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

static HOOK: Once = Once::new();

/// Notes panics of this thread from now on.
pub(crate) fn watch() {
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            SEEN.with_borrow_mut(|seen| seen.push(panicked.to_string()));
            usual(panicked);
        }));
    });
    take();
}

/// The panics since [`watch`] or the last call of this.
pub(crate) fn take() -> Vec<String> {
    SEEN.take()
}
