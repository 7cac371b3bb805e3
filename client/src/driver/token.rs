//! Asking the application for a token.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use talkback_protocol::session::client::Input;

use super::Driver;

impl Driver {
    /// The future lives in the driver, so that it ends with it; the task that polls it is only a shell.
    pub(super) fn ask_for_token(&self) {
        let Some(provider) = &self.token else {
            return self.input(Input::Token(None));
        };
        let future = provider();
        self.token_task.replace(Some(future));
        let me = self.me.clone();
        let shell = poll_fn(move |context| match me.upgrade() {
            Some(driver) => driver.poll_token(context),
            None => Poll::Ready(()),
        });
        self.runtime.spawn(Box::pin(shell));
    }

    fn poll_token(&self, context: &mut Context<'_>) -> Poll<()> {
        // Taken out, because the application's code runs inside and may do anything to the client.
        let Some(mut future) = self.token_task.take() else {
            return Poll::Ready(());
        };
        match Pin::new(&mut future).poll(context) {
            Poll::Ready(token) => {
                self.input(Input::Token(token));
                Poll::Ready(())
            }
            Poll::Pending => {
                let newer = self.token_task.borrow().is_some();
                if !newer {
                    self.token_task.replace(Some(future));
                }
                Poll::Pending
            }
        }
    }
}
