//! What users save in the workbench: connections in collections, and snippets; and the subprotocols as chips.

use serde_json::{Value, json};
use talkback_e2e::{DEADLINE, Page, StepError, in_every_browser, wait_for};
use thirtyfour::Key;

const LOG: &str = "messagecontainer";

#[test]
fn a_connection_is_saved_opened_renamed_and_deleted() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let address = stage.server.ws("/echo?token=secret");
        page.paste("url", &address).await?;
        page.click("subprotocols_button").await?;
        page.fill("subprotocols", "one, two, ").await?;
        page.click("mode_json").await?;
        page.paste("message", "{\"a\": 1}").await?;

        page.click("saved_button").await?;
        page.click("connections_save").await?;
        page.wait_text("connections_notice", "Give it a name.").await?;
        let invalid = "const { activeElement: field } = document;
            return [field.id, field.ariaInvalid, document.getElementById(field.getAttribute('aria-describedby'))?.textContent];";
        page.wait_value(
            "the field has the focus and the error as its description",
            async || page.execute(invalid, vec![]).await,
            |field| *field == json!(["connections_name", "true", "Give it a name."]),
        )
        .await?;
        page.fill("connections_name", "Orders").await?;
        page.wait_value(
            "the error is gone",
            async || page.execute(invalid, vec![]).await,
            |field| *field == json!(["connections_name", null, null]),
        )
        .await?;
        page.fill("connections_collection", "Staging").await?;
        page.press(Key::Enter).await?;
        page.wait_text("connections_notice", "Saved as Orders.").await?;
        page.wait_text("connections_list", "Staging").await?;
        page.wait_text("connections_list", "token=•••").await?;
        assert!(!page.text("connections_list").await?.contains("secret"));
        page.screenshot(&stage.picture("workbench-saved")).await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("saved_connections").await?;

        // Over a reload, and with everything else in the fields.
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        page.click("mode_text").await?;
        page.paste("message", "unsent").await?;
        page.paste("url", "Ord").await?;
        page.wait_text("url_list", "Orders").await?;
        page.click("url_0").await?;
        loaded(page, &address, "{\"a\": 1}").await?;
        page.click("message").await?;
        page.script("message", "arguments[0].setSelectionRange(0, 0);").await?;
        page.press(Key::Up).await?;
        page.wait_field("message", "unsent").await?;

        page.click("saved_button").await?;
        act(page, "connections_list", "rename", 1).await?;
        page.wait_focus("connections_name").await?;
        page.fill("connections_name", "Orders EU").await?;
        page.press(Key::Enter).await?;
        page.wait_text("connections_list", "Orders EU").await?;
        act(page, "connections_list", "rename", 0).await?;
        page.fill("connections_name", "Production").await?;
        page.press(Key::Enter).await?;
        page.wait_text("connections_list", "Production").await?;

        act(page, "connections_list", "delete", 1).await?;
        page.wait_text("connections_notice", "Orders EU is deleted.").await?;
        page.wait_value(
            "the list is empty",
            async || page.text("connections_list").await,
            |list| list.is_empty(),
        )
        .await?;
        // The pressed button is gone.
        page.wait_focus("connections_name").await?;
        page.click("connections_undo").await?;
        page.wait_text("connections_list", "Orders EU").await?;
        // The pressed button is gone.
        page.wait_focus("connections_name").await?;
        Ok(())
    });
}

#[test]
fn a_saved_connection_is_opened_in_another_tab_while_the_shown_one_is_connected() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let saved = stage.server.ws("/echo?suffix=%21");
        page.fill("url", &saved).await?;
        page.click("saved_button").await?;
        page.fill("connections_name", "Loud").await?;
        page.press(Key::Enter).await?;
        page.wait_text("connections_list", "Loud").await?;
        page.press(Key::Escape).await?;
        page.wait_hidden("saved_connections").await?;
        let shown = stage.server.ws("/echo");
        page.fill("url", &shown).await?;
        page.click("connect_websocket").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.click("saved_button").await?;
        page.click_inside("connections_list", ".saved-open").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.wait_field("url", &saved).await?;
        page.click("tab_1").await?;
        page.wait_state("ready_state", "OPEN").await?;
        page.wait_field("url", &shown).await?;
        Ok(())
    });
}

#[test]
fn saved_connections_move_in_their_collection_and_to_others_with_keys_and_pointer() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("saved_button").await?;
        for (collection, name) in [("", "One"), ("Staging", "Two"), ("Staging", "Three"), ("Live", "Four")] {
            page.fill("connections_collection", collection).await?;
            page.fill("connections_name", name).await?;
            page.press(Key::Enter).await?;
            page.wait_text("connections_notice", &format!("Saved as {name}."))
                .await?;
        }
        shown(page, &["One", "[Staging]", "Two", "Three", "[Live]", "Four"]).await?;

        // By keys: the button keeps the focus, so that it can be pressed again.
        let three = "arguments[0].querySelector('[aria-label=\"Move up Three\"]').focus();";
        page.script("connections_list", three).await?;
        page.press(Key::Enter).await?;
        shown(page, &["One", "[Staging]", "Three", "Two", "[Live]", "Four"]).await?;
        focused(page, "Move up Three").await?;
        page.press(Key::Enter).await?;
        shown(page, &["One", "Three", "[Staging]", "Two", "[Live]", "Four"]).await?;
        page.wait_text("connections_notice", "Moved out of the collections.")
            .await?;
        focused(page, "Move up Three").await?;

        // By the pointer.
        press(page, "Move down Two").await?;
        shown(page, &["One", "Three", "[Live]", "Two", "Four"]).await?;
        page.wait_text("connections_notice", "Moved to Live.").await?;
        page.click("connections_undo").await?;
        shown(page, &["One", "Three", "[Staging]", "Two", "[Live]", "Four"]).await?;
        press(page, "Move up Live").await?;
        shown(page, &["One", "Three", "[Live]", "Four", "[Staging]", "Two"]).await?;
        page.reload().await?;
        page.wait_shown("connect_websocket").await?;
        page.click("saved_button").await?;
        shown(page, &["One", "Three", "[Live]", "Four", "[Staging]", "Two"]).await?;
        Ok(())
    });
}

#[test]
fn what_another_tab_saves_is_seen_and_forgetting_all_forgets_it() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        let other = page.new_tab().await?;
        other.open(&stage.server.http("/"), "connect_websocket").await?;
        other.click("saved_button").await?;
        page.click("saved_button").await?;
        page.fill("connections_name", "Mine").await?;
        page.press(Key::Enter).await?;
        other.wait_text("connections_list", "Mine").await?;
        page.press(Key::Escape).await?;
        page.forget_all("connect_websocket").await?;
        page.wait_answer("return localStorage.getItem('talkback.saved');", Value::Null)
            .await?;
        Ok(())
    });
}

#[test]
fn what_is_saved_is_exported_without_secrets_and_imported_again() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.paste("url", "wss://ann:pass@host/x?token=secret").await?;
        page.click("saved_button").await?;
        page.fill("connections_name", "Orders").await?;
        page.press(Key::Enter).await?;
        page.wait_text("connections_list", "Orders").await?;
        page.press(Key::Escape).await?;
        page.click("snippets_button").await?;
        page.fill("snippets_name", "greeting").await?;
        page.press(Key::Enter).await?;
        page.wait_text("snippets_list", "Hello, World!").await?;
        page.press(Key::Escape).await?;

        page.click("saved_button").await?;
        let catch = "
            const create = URL.createObjectURL;
            URL.createObjectURL = blob => { window.caughtBlob = blob; return create.call(URL, blob); };
            HTMLAnchorElement.prototype.click = function () { window.caughtName = this.download; };";
        page.execute(catch, vec![]).await?;
        let file = export(page).await?;
        assert_eq!(file["connections"][0]["url"], "wss://host/x?token=");
        assert_eq!(file["snippets"][0]["message"], "Hello, World!");
        page.click("export_secrets").await?;
        let file = export(page).await?;
        assert_eq!(file["connections"][0]["url"], "wss://ann:pass@host/x?token=secret");

        for (text, error) in [
            (
                "[1,",
                "The file is not JSON: line 1, column 4. Choose a file that was exported here.",
            ),
            ("{}", "The file has JSON, but not of this page."),
            (
                "{\"talkback\":\"saved\",\"version\":2}",
                "Load the page again, then import it.",
            ),
            (
                "{\"talkback\":\"saved\",\"connections\":[{\"name\":\"x\"}]}",
                "In the file, number 1 of connections has no text url. Correct it there, then import it again.",
            ),
        ] {
            import(page, text).await?;
            page.wait_text("connections_notice", error).await?;
        }
        act(page, "connections_list", "delete", 0).await?;
        page.wait_text("connections_notice", "Orders is deleted.").await?;
        import(page, &file.to_string()).await?;
        page.wait_text("connections_notice", "1 imported.").await?;
        page.wait_text("connections_list", "Orders").await?;
        import(page, &file.to_string()).await?;
        page.wait_text("connections_notice", "Nothing new is in the file.")
            .await?;
        Ok(())
    });
}

#[test]
fn a_snippet_and_what_was_sent_lately_are_put_into_the_composer() {
    in_every_browser(async |stage| {
        let page = stage.connected_workbench().await?;
        page.click("mode_hex").await?;
        page.paste("message", "00 ff").await?;
        page.click("snippets_button").await?;
        page.fill("snippets_name", "two bytes").await?;
        page.fill("snippets_collection", "Binary").await?;
        page.press(Key::Enter).await?;
        page.wait_text("snippets_list", "two bytes").await?;
        page.wait_text("snippets_list", "Binary").await?;
        page.press(Key::Escape).await?;
        page.click("mode_text").await?;
        page.paste("message", "sent").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["sent"]).await?;
        page.paste("message", "something else").await?;

        page.click("snippets_button").await?;
        page.wait_text("sent_list", "sent").await?;
        page.screenshot(&stage.picture("workbench-snippets")).await?;
        page.click_inside("sent_list", "button").await?;
        page.wait_value("it is back", async || page.value("message").await, |now| now == "sent")
            .await?;
        page.wait_hidden("saved_snippets").await?;
        page.wait_focus("message").await?;
        page.click("snippets_button").await?;
        page.wait_text("snippets_list", "two bytes").await?;
        page.click_inside("snippets_list", ".saved-open").await?;
        page.wait_text("message_size", "2 B").await?;
        page.click("send_message").await?;
        page.wait_texts(LOG, "in", &["sent", "00 ff"]).await?;
        Ok(())
    });
}

#[test]
fn subprotocols_are_chips_and_the_negotiated_one_is_marked() {
    in_every_browser(async |stage| {
        let faults = stage.faults().await?;
        let page = stage.workbench().await?;
        page.paste("url", &format!("{faults}/protocol?name=chat.v2")).await?;
        page.click("subprotocols_button").await?;
        page.fill("subprotocols", "chat.v1,chat.v2").await?;
        page.press(Key::Enter).await?;
        chips(page, &["chat.v1", "chat.v2"]).await?;
        page.wait_field("subprotocols", "").await?;
        page.press("a b,").await?;
        page.wait_text("error", "Subprotocol 'a b' is repeated or has a forbidden character.")
            .await?;
        page.fill("subprotocols", "").await?;
        page.wait_hidden("error").await?;
        page.press("x,").await?;
        chips(page, &["chat.v1", "chat.v2", "x"]).await?;
        page.press(Key::Backspace).await?;
        chips(page, &["chat.v1", "chat.v2"]).await?;
        page.press("y,").await?;
        page.click_inside("subprotocol_chips", "[aria-label=\"Remove y\"]")
            .await?;
        chips(page, &["chat.v1", "chat.v2"]).await?;
        // The pressed button is gone.
        page.wait_focus("subprotocols").await?;
        // Enter in the empty field connects.
        page.press(Key::Enter).await?;
        page.wait_state("ready_state", "OPEN").await?;
        let marked =
            "return [...arguments[0].querySelectorAll('[data-negotiated]')].map(chip => chip.innerText).join();";
        page.wait_value(
            "the negotiated one is marked",
            async || page.script("subprotocol_chips", marked).await,
            |text| {
                text.as_str()
                    .is_some_and(|text| text.contains("chat.v2") && !text.contains("chat.v1"))
            },
        )
        .await?;
        page.screenshot(&stage.picture("workbench-subprotocols")).await?;
        // A new tab offers the same ones.
        page.click("new_tab").await?;
        page.wait_state("ready_state", "CLOSED").await?;
        page.click("subprotocols_button").await?;
        chips(page, &["chat.v1", "chat.v2"]).await?;
        Ok(())
    });
}

async fn chips(page: &Page, names: &[&str]) -> Result<(), StepError> {
    let shown = "return [...arguments[0].querySelectorAll('.chip > span:last-of-type')].map(name => name.textContent);";
    page.wait_value(
        format!("the chips are {names:?}"),
        async || page.script("subprotocol_chips", shown).await,
        |now| *now == json!(names),
    )
    .await
}

/// The saved connection is in the fields.
async fn loaded(page: &Page, address: &str, message: &str) -> Result<(), StepError> {
    page.wait_value("the address", async || page.value("url").await, |now| now == address)
        .await?;
    page.wait_value(
        "the message",
        async || page.value("message").await,
        |now| now == message,
    )
    .await
}

/// Presses the so manieth button of a kind in a list, from 0.
async fn act(page: &Page, list: &str, act: &str, index: usize) -> Result<(), StepError> {
    let press = format!(
        "const button = arguments[0].querySelectorAll('[data-act={act}]')[{index}];
         button?.click();
         return button !== undefined;"
    );
    page.wait_script(list, &press, true).await
}

/// Presses the button of the list of connections with this label, with the pointer.
async fn press(page: &Page, label: &str) -> Result<(), StepError> {
    let place = format!(
        "const button = arguments[0].querySelector('[aria-label=\"{label}\"]');
         button.scrollIntoView({{ block: 'center' }});
         const {{ x, y, width, height }} = button.getBoundingClientRect();
         return [Math.round(x + width / 2), Math.round(y + height / 2)];"
    );
    let place = page.script("connections_list", &place).await?;
    let [x, y] = [0, 1].map(|index| place[index].as_i64().unwrap_or_default());
    page.click_at(x, y).await
}

/// The list of connections has these names in this order, those of collections in brackets.
async fn shown(page: &Page, expected: &[&str]) -> Result<(), StepError> {
    let names = "return [...arguments[0].children].map(row => row.matches('.saved-collection')
        ? `[${row.querySelector('span').textContent}]` : row.querySelector('b').textContent);";
    page.wait_value(
        format!("the list is {expected:?}"),
        async || page.script("connections_list", names).await,
        |now| *now == json!(expected),
    )
    .await
}

async fn focused(page: &Page, label: &str) -> Result<(), StepError> {
    page.wait_value(
        format!("{label} is focused"),
        async || {
            page.execute("return document.activeElement.getAttribute('aria-label');", vec![])
                .await
        },
        |now| now == label,
    )
    .await
}

async fn export(page: &Page) -> Result<Value, StepError> {
    page.execute("window.caughtName = null;", vec![]).await?;
    page.click("export_saved").await?;
    wait_for("the file is there", DEADLINE, async || {
        Ok(page.execute("return window.caughtName;", vec![]).await? == "talkback-saved.json")
    })
    .await?;
    let text = page.execute("return caughtBlob.text();", vec![]).await?;
    serde_json::from_str(text.as_str().unwrap_or_default()).map_err(|error| StepError::Setup(error.to_string()))
}

async fn import(page: &Page, text: &str) -> Result<(), StepError> {
    let choose = format!(
        "const files = new DataTransfer();
         files.items.add(new File([{}], 'saved.json'));
         arguments[0].files = files.files;
         arguments[0].dispatchEvent(new Event('change', {{ bubbles: true }}));",
        json!(text)
    );
    page.script("import_saved", &choose).await?;
    Ok(())
}
