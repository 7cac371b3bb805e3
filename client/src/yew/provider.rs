use futures_core::Stream;
use std::{future::poll_fn, pin::Pin};
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use super::room::Ended;
use crate::{Client, Status};

/// See [`ClientProvider`].
#[derive(Clone, Debug, PartialEq, Properties)]
pub struct ClientProviderProps {
    /// The client for everything inside.
    pub client: Client,
    /// What is inside.
    #[prop_or_default]
    pub children: Html,
}

/// Gives a [`Client`] to the components inside it, see [`use_client`].
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

/// The state of the connection of the nearest [`ClientProvider`]'s client; renders again whenever it changes.
///
/// # Panics
/// Outside of a [`ClientProvider`].
#[hook]
pub fn use_status() -> Status {
    let client = use_client();
    let update = use_force_update();
    use_effect_with(client.clone(), move |client| {
        let mut changes = client.status_changes();
        let ended = Ended::default();
        let until = ended.clone();
        spawn_local(until.or(async move {
            while poll_fn(|context| Pin::new(&mut changes).poll_next(context))
                .await
                .is_some()
            {
                update.force_update();
            }
        }));
        move || ended.end()
    });
    client.status()
}
