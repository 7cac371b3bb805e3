use futures_core::Stream;
use std::{future::poll_fn, pin::Pin};
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use super::cancellation::CancellationToken;
use crate::{Client, Status};

/// The properties of [`ClientProvider`].
#[derive(Clone, Debug, PartialEq, Properties)]
pub struct ClientProviderProps {
    /// The client for the children.
    pub client: Client,
    /// The components that use the client.
    #[prop_or_default]
    pub children: Html,
}

/// Provides a [`Client`] to its children, see [`use_client`].
#[component]
pub fn ClientProvider(props: &ClientProviderProps) -> Html {
    html! {
        <ContextProvider<Client> context={props.client.clone()}>{ props.children.clone() }</ContextProvider<Client>>
    }
}

/// The client of the nearest [`ClientProvider`].
///
/// # Panics
/// Outside of a [`ClientProvider`].
#[hook]
pub fn use_client() -> Client {
    use_context().expect("use_client must be called inside a <ClientProvider>")
}

/// The status of the client of the nearest [`ClientProvider`]. The component renders again when it changes.
///
/// # Panics
/// Outside of a [`ClientProvider`].
#[hook]
pub fn use_status() -> Status {
    let client = use_client();
    let update = use_force_update();
    use_effect_with(client.clone(), move |client| {
        let mut changes = client.status_changes();
        let token = CancellationToken::default();
        let task = token.clone();
        spawn_local(task.run_until_cancelled(async move {
            while poll_fn(|context| Pin::new(&mut changes).poll_next(context))
                .await
                .is_some()
            {
                update.force_update();
            }
        }));
        move || token.cancel()
    });
    client.status()
}
