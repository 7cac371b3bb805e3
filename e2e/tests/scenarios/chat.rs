//! Group chat: tabs of one room see each other, other rooms see nothing.

use talkback_e2e::in_every_browser;
use thirtyfour::Key;

const LOG: &str = "chat_messages";

#[test]
fn two_tabs_of_a_room_see_each_other_and_a_third_elsewhere_sees_nothing() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        let eve = ann.new_tab().await?;
        ann.join(&stage.server, "kitchen", "Ann").await?;
        bob.join(&stage.server, "kitchen", "Bob").await?;
        eve.join(&stage.server, "cellar", "Eve").await?;
        assert!(ann.text("chat_room").await?.contains("kitchen"));

        ann.send("Is anybody there?").await?;
        bob.wait_messages(&[("Ann", "Is anybody there?")]).await?;
        bob.send("I am").await?;
        let talk = [("Ann", "Is anybody there?"), ("Bob", "I am")];
        ann.wait_messages(&talk).await?;
        bob.wait_messages(&talk).await?;

        // Eve's message comes back after all that was sent before it, so a message of the kitchen would show by now.
        eve.send("echo?").await?;
        eve.wait_messages(&[("Eve", "echo?")]).await?;
        ann.wait_messages(&talk).await?;
        Ok(())
    });
}

#[test]
fn rooms_names_and_messages_may_be_chinese() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        ann.join(&stage.server, "大厅", "小明").await?;
        bob.join(&stage.server, "大厅", "小红").await?;
        assert_eq!(ann.path().await?, "/chat/大厅");
        assert!(ann.text("chat_room").await?.contains("大厅"));
        ann.send("大家好！").await?;
        bob.wait_messages(&[("小明", "大家好！")]).await?;
        Ok(())
    });
}

#[test]
fn markup_in_names_and_messages_stays_text() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        ann.join(&stage.server, "attic", "<i>Ann</i>").await?;
        bob.join(&stage.server, "attic", "Bob").await?;
        let attack = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>";
        ann.send(attack).await?;
        bob.wait_messages(&[("<i>Ann</i>", attack)]).await?;
        let elements = bob
            .script(LOG, "return arguments[0].querySelectorAll('img, script, i').length;")
            .await?;
        assert_eq!(elements, 0, "the text became no element");
        let title = bob.execute("return document.title;", vec![]).await?;
        assert_ne!(title, "hit", "the script did not run");
        Ok(())
    });
}

#[test]
fn enter_sends_but_not_while_an_input_method_composes() {
    // element-web and many chats sent half a word when Enter confirmed a candidate.
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "study", "Ann").await?;
        page.paste("chat_message", "ni hao").await?;
        // Browsers report an Enter that belongs to the input method in two ways.
        let confirm = "
            for (const [isComposing, keyCode] of [[true, 13], [false, 229]]) {
                const event = new KeyboardEvent('keydown', { key: 'Enter', isComposing, bubbles: true, cancelable: true });
                Object.defineProperty(event, 'keyCode', { value: keyCode });
                arguments[0].dispatchEvent(event);
            }";
        page.script("chat_message", confirm).await?;
        assert_eq!(
            page.value("chat_message").await?,
            "ni hao",
            "the text stays in the field"
        );
        page.fill("chat_message", "你好").await?;
        page.press_in("chat_message", Key::Enter).await?;
        page.wait_messages(&[("Ann", "你好")]).await?;
        assert_eq!(
            page.value("chat_message").await?,
            "",
            "the field is ready for the next message"
        );
        Ok(())
    });
}

#[test]
fn shift_enter_starts_a_new_line() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "study", "Ann").await?;
        page.fill("chat_message", "one").await?;
        page.press_in("chat_message", Key::Shift + Key::Enter).await?;
        page.press_in("chat_message", "two").await?;
        page.press_in("chat_message", Key::Enter).await?;
        page.wait_messages(&[("Ann", "one\ntwo")]).await?;
        Ok(())
    });
}

#[test]
fn a_message_over_the_limit_is_refused_in_the_field_and_stays_there() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "attic", "Ann").await?;
        page.paste("chat_message", &"x".repeat(70_000)).await?;
        page.wait_text("chat_size", "/").await?;
        page.click("chat_send").await?;
        page.wait_text("error", "too long").await?;
        assert_eq!(page.value("chat_message").await?.len(), 70_000);
        page.fill("chat_message", "short").await?;
        page.click("chat_send").await?;
        page.wait_messages(&[("Ann", "short")]).await?;
        Ok(())
    });
}

#[test]
fn what_is_not_sent_stays_in_its_room_also_over_a_reload() {
    in_every_browser(async |stage| {
        let page = stage.page.clone();
        page.join(&stage.server, "attic", "Ann").await?;
        page.fill("chat_message", "for the attic").await?;
        page.fill("chat_other_room", "cellar").await?;
        page.press_in("chat_other_room", Key::Enter).await?;
        page.wait_text("chat_room", "cellar").await?;
        assert_eq!(page.value("chat_message").await?, "");
        page.fill("chat_message", "for the cellar").await?;
        page.back().await?;
        page.wait_text("chat_room", "attic").await?;
        assert_eq!(page.value("chat_message").await?, "for the attic");
        page.reload().await?;
        page.wait_shown("chat_message").await?;
        assert_eq!(page.value("chat_message").await?, "for the attic");
        page.wait_state("chat_state", "OPEN").await?;
        page.click("chat_send").await?;
        page.wait_messages(&[("Ann", "for the attic")]).await?;
        page.reload().await?;
        page.wait_shown("chat_message").await?;
        assert_eq!(page.value("chat_message").await?, "", "what was sent is no draft");
        page.forward().await?;
        page.wait_text("chat_room", "cellar").await?;
        assert_eq!(page.value("chat_message").await?, "for the cellar");
        Ok(())
    });
}

#[test]
fn back_and_forward_lead_between_the_views() {
    in_every_browser(async |stage| {
        let page = stage.workbench().await?;
        page.click("nav_chat").await?;
        page.wait_shown("chat_join").await?;
        assert_eq!(page.path().await?, "/chat/lobby");
        assert!(page.text("chat_room").await?.contains("lobby"));
        page.back().await?;
        page.wait_shown("connect_websocket").await?;
        assert_eq!(page.path().await?, "/");
        page.forward().await?;
        page.wait_shown("chat_join").await?;
        assert_eq!(page.path().await?, "/chat/lobby");
        page.click("nav_workbench").await?;
        page.wait_shown("connect_websocket").await?;
        assert_eq!(page.path().await?, "/");
        Ok(())
    });
}

#[test]
fn a_user_who_left_gets_no_messages_until_joining_again_and_then_all_of_them() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        let bob = ann.new_tab().await?;
        ann.join(&stage.server, "porch", "Ann").await?;
        bob.join(&stage.server, "porch", "Bob").await?;
        bob.click("chat_leave").await?;
        bob.wait_state("chat_state", "CLOSED").await?;
        ann.send("Bob?").await?;
        ann.wait_messages(&[("Ann", "Bob?")]).await?;
        bob.wait_messages(&[]).await?;
        bob.click("chat_join").await?;
        bob.wait_state("chat_state", "OPEN").await?;
        ann.send("Back!").await?;
        bob.wait_messages(&[("Ann", "Bob?"), ("Ann", "Back!")]).await?;
        Ok(())
    });
}

#[test]
fn a_room_is_joined_at_once_under_the_name_of_the_tab_and_without_one_the_page_asks() {
    in_every_browser(async |stage| {
        let ann = stage.page.clone();
        ann.open(&stage.server.http("/chat/hall"), "chat_join").await?;
        assert_eq!(ann.state("chat_state").await?, "CLOSED", "nobody was asked yet");
        ann.join(&stage.server, "hall", "Ann").await?;
        assert_eq!(
            ann.focused().await?,
            "chat_message",
            "the next thing to do is to say something"
        );
        ann.open(&stage.server.http("/chat/yard"), "chat_leave").await?;
        ann.wait_state("chat_state", "OPEN").await?;
        ann.wait_roster(&["Ann"]).await?;
        let bob = ann.new_tab().await?;
        bob.join(&stage.server, "yard", "Bob").await?;
        ann.reload().await?;
        bob.reload().await?;
        ann.wait_roster(&["Ann", "Bob"]).await?;
        bob.wait_roster(&["Bob", "Ann"]).await?;
        Ok(())
    });
}

#[test]
fn a_name_that_the_server_refuses_is_kept_and_the_reason_is_shown() {
    in_every_browser(async |stage| {
        let page = &stage.page;
        page.open(&stage.server.http("/chat/lobby"), "chat_join").await?;
        page.fill("chat_name", "[Ann]").await?;
        page.click("chat_join").await?;
        page.wait_text("error", "does not take this name").await?;
        assert_eq!(page.value("chat_name").await?, "[Ann]");
        let is_marked = page.script("chat_name", "return arguments[0].ariaInvalid;").await?;
        assert_eq!(is_marked, "true");
        assert_eq!(page.state("chat_state").await?, "CLOSED");
        page.fill("chat_name", "Ann").await?;
        page.click("chat_join").await?;
        page.wait_state("chat_state", "OPEN").await?;
        page.wait_hidden("error").await?;
        Ok(())
    });
}
