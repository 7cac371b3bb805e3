//! Waiting for a condition that another task makes true.

use tokio::sync::Notify;

/// Waits until `ready` returns a value. It is called at once, and again after each [`Notify::notify_waiters`].
///
/// Cancel safe.
pub(crate) async fn wait_until<T>(notify: &Notify, mut ready: impl FnMut() -> Option<T>) -> T {
    loop {
        let mut notified = std::pin::pin!(notify.notified());
        // Before the check, so that a notification between the check and the wait is not lost.
        notified.as_mut().enable();
        if let Some(value) = ready() {
            return value;
        }
        notified.await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_notification_during_the_check_is_not_lost() {
        let notify = Notify::new();
        let checks = Cell::new(0);
        let wait = wait_until(&notify, || {
            checks.set(checks.get() + 1);
            if checks.get() < 3 {
                notify.notify_waiters();
                return None;
            }
            Some("ready")
        });
        assert_eq!(wait.now_or_never(), Some("ready"));
        assert_eq!(checks.get(), 3);
    }

    #[tokio::test]
    async fn the_condition_is_checked_once_for_each_notification() {
        let (notify, checks) = (Notify::new(), Cell::new(0));
        let mut wait = Box::pin(wait_until(&notify, || {
            checks.set(checks.get() + 1);
            (checks.get() > 2).then_some(())
        }));
        for expected in [1, 2] {
            assert_eq!(wait.as_mut().now_or_never(), None);
            assert_eq!(wait.as_mut().now_or_never(), None, "nothing was notified");
            assert_eq!(checks.get(), expected);
            notify.notify_waiters();
        }
        assert_eq!(wait.as_mut().now_or_never(), Some(()));
    }
}
