use std::collections::BTreeSet;

use wasmi::{Caller, Engine, Extern, Global, Instance, Linker, Store, Table, Val};

use super::{
    FUNCTIONS, LINK, LOAD, LOADED, Parts, SHARED, binary::Binary, names, profile, split, without_custom_sections,
};

/// Functions whose names begin with `cold` are split off. Both parts call each other, directly and by a table, share globals and memory, and
/// both import functions of the glue.
const MODULE: &str = r#"
(module
  (type $unary (func (param i32) (result i32)))
  (import "./a_bg.js" "add_ten" (func $add_ten (type $unary)))
  (import "./a_bg.js" "double" (func $double (type $unary)))
  (table $closures (export "closures") 8 funcref)
  (table $others (export "others") 2 externref)
  (memory (export "memory") 1)
  (global $stack (mut i32) (i32.const 100))
  (global $answer i32 (i32.const 42))
  (elem (table $closures) (i32.const 1) func $hot_closure $cold_closure $cold_odd $cold_even_by_table $hot_closure)
  (data (i32.const 16) "\2a\00\00\00")

  (func $start (global.set $stack (i32.const 200)))
  (start $start)

  (func $hot_closure (type $unary) (i32.add (local.get 0) (i32.const 1)))
  (func $cold_closure (type $unary) (call $add_ten (i32.mul (local.get 0) (i32.const 3))))

  ;; Recursion between both parts, directly and by the table.
  (func $hot_even (export "even") (type $unary)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 1))
      (else (call $cold_odd (i32.sub (local.get 0) (i32.const 1))))))
  (func $cold_odd (type $unary)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 0))
      (else (call_indirect $closures (type $unary) (i32.sub (local.get 0) (i32.const 1)) (i32.const 4)))))
  (func $cold_even_by_table (type $unary) (call $hot_even (local.get 0)))

  (func (export "by_table") (param i32 i32) (result i32)
    (call_indirect $closures (type $unary) (local.get 0) (local.get 1)))

  ;; All types of parameters and several results, of an exported function.
  (func $cold_wide (export "wide") (param i32 i64 f32 f64) (result f64 i64)
    (f64.add (f64.add (f64.convert_i32_s (local.get 0)) (f64.promote_f32 (local.get 2))) (local.get 3))
    (call $cold_inner (local.get 1)))
  (func $cold_inner (param i64) (result i64) (i64.add (local.get 0) (i64.const 0x1122334455667788)))
  (func $cold_none (export "none"))

  ;; Globals and memory.
  (func $hot_push (export "push") (result i32)
    (global.set $stack (i32.sub (global.get $stack) (i32.const 16)))
    (call $cold_pop))
  (func $cold_pop (result i32)
    (i32.store (i32.const 16) (i32.add (i32.load (i32.const 16)) (call $only_called_by_cold (global.get $answer))))
    (global.set $stack (i32.add (global.get $stack) (i32.const 8)))
    (global.get $stack))
  (func $hot_load (export "load") (result i32)
    (i32.add (i32.load (i32.const 16)) (global.get $stack)))
  (func $only_called_by_cold (type $unary) (i32.add (call $double (local.get 0)) (i32.const 0x123456)))
  (func $hot_add (export "add") (type $unary) (call $add_ten (local.get 0)))
)"#;

/// Calls whose results are compared: the function and its parameters.
fn calls() -> Vec<(&'static str, Vec<Val>)> {
    let i32s = |values: &[i32]| values.iter().copied().map(Val::I32).collect::<Vec<_>>();
    let wide = vec![
        Val::I32(-7),
        Val::I64(i64::MAX),
        Val::F32(1.5.into()),
        Val::F64((-2.25).into()),
    ];
    let mut calls = vec![
        ("add", i32s(&[5])),
        ("load", vec![]),
        ("by_table", i32s(&[7, 1])),
        ("by_table", i32s(&[7, 5])),
    ];
    for _ in 0..2 {
        calls.extend([
            ("push", vec![]),
            ("load", vec![]),
            ("wide", wide.clone()),
            ("none", vec![]),
        ]);
        calls.extend([("even", i32s(&[0])), ("even", i32s(&[9])), ("even", i32s(&[12]))]);
        calls.extend((1..=5).map(|entry| ("by_table", i32s(&[9, entry]))));
    }
    calls
}

/// What the glue has: the rest, until it is loaded, and how often it was.
#[derive(Default)]
struct Glue {
    rest: Option<wasmi::Module>,
    loads: usize,
}

struct Running {
    store: Store<Glue>,
    instance: Instance,
}

impl Running {
    fn start(bytes: &[u8], rest: Option<&[u8]>) -> Self {
        let engine = Engine::default();
        let rest = rest.map(|rest| wasmi::Module::new(&engine, rest).unwrap());
        let mut store = Store::new(&engine, Glue { rest, loads: 0 });
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("./a_bg.js", "add_ten", |number: i32| number + 10)
            .unwrap();
        linker
            .func_wrap("./a_bg.js", "double", |number: i32| number * 2)
            .unwrap();
        linker.func_wrap("./a_bg.js", LOAD, load).unwrap();
        let module = wasmi::Module::new(&engine, bytes).unwrap();
        let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
        Self { store, instance }
    }

    fn call(&mut self, name: &str, parameters: &[Val]) -> String {
        let function = self.instance.get_func(&self.store, name).unwrap();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        function.call(&mut self.store, parameters, &mut results).unwrap();
        format!("{results:?}")
    }
}

/// What loader.js does.
fn load(mut caller: Caller<'_, Glue>) {
    caller.data_mut().loads += 1;
    let Some(rest) = caller.data_mut().rest.take() else {
        panic!("the rest is loaded twice");
    };
    let engine = caller.engine().clone();
    let mut linker = Linker::<Glue>::new(&engine);
    let table: Table = caller.get_export(LINK).and_then(Extern::into_table).unwrap();
    let imports: Vec<_> = rest
        .imports()
        .map(|import| (import.module().to_owned(), import.name().to_owned()))
        .collect();
    for (module, name) in imports {
        let item = if module == FUNCTIONS {
            let Val::FuncRef(function) = Val::from(table.get(&caller, name.parse().unwrap()).unwrap()) else {
                panic!("{name} is no function");
            };
            Extern::Func(*function.val().unwrap())
        } else {
            assert_eq!(module, SHARED);
            caller.get_export(&name).unwrap()
        };
        linker.define(&module, &name, item).unwrap();
    }
    linker.instantiate_and_start(&mut caller, &rest).unwrap();
    let loaded: Global = caller.get_export(LOADED).and_then(Extern::into_global).unwrap();
    loaded.set(&mut caller, Val::I32(1)).unwrap();
}

fn whole() -> Vec<u8> {
    wat::parse_str(MODULE).unwrap()
}

fn parts(bytes: &[u8]) -> Parts {
    split(bytes, |name| name.starts_with("cold")).unwrap().unwrap()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn both_parts_together_compute_what_the_whole_does() {
    let bytes = whole();
    let parts = parts(&bytes);
    let mut whole = Running::start(&bytes, None);
    let mut split = Running::start(&parts.first, Some(&parts.rest));
    for (name, parameters) in calls() {
        let (expected, result) = (whole.call(name, &parameters), split.call(name, &parameters));
        assert_eq!(result, expected, "{name} {parameters:?}");
    }
    assert_eq!(split.store.data().loads, 1);
}

#[test]
fn the_rest_is_loaded_when_a_function_of_it_is_called_first_and_no_earlier() {
    let bytes = whole();
    let parts = parts(&bytes);
    for (name, parameters, loads) in [
        ("add", vec![Val::I32(1)], 0),
        ("load", vec![], 0),
        ("even", vec![Val::I32(0)], 0),
        ("by_table", vec![Val::I32(1), Val::I32(1)], 0),
        ("even", vec![Val::I32(1)], 1),
        ("by_table", vec![Val::I32(1), Val::I32(2)], 1),
        ("by_table", vec![Val::I32(1), Val::I32(4)], 1),
        ("push", vec![], 1),
        ("none", vec![], 1),
        (
            "wide",
            vec![Val::I32(1), Val::I64(1), Val::F32(1.0.into()), Val::F64(1.0.into())],
            1,
        ),
    ] {
        let mut running = Running::start(&parts.first, Some(&parts.rest));
        running.call(name, &parameters);
        running.call(name, &parameters);
        assert_eq!(running.store.data().loads, loads, "{name} {parameters:?}");
    }
}

#[test]
fn each_function_is_in_one_part() {
    let bytes = whole();
    let parts = parts(&bytes);
    // i64.const 0x1122334455667788, i32.const 0x123456 as the binary has them.
    let inner = [0x42, 0x88, 0xef, 0x99, 0xab, 0xc5, 0xe8, 0x8c, 0x91, 0x11];
    let only_called_by_cold = [0x41, 0xd6, 0xe8, 0xc8, 0x00];
    for code in [&inner[..], &only_called_by_cold] {
        assert!(
            contains(&bytes, code) && contains(&parts.rest, code) && !contains(&parts.first, code),
            "{code:x?}"
        );
    }
    // Those of the first part with code: it has no trampoline for a function that only the rest calls.
    let first = Binary::parse(&parts.first).unwrap();
    let hot = [
        "start",
        "hot_closure",
        "hot_even",
        "by_table",
        "hot_push",
        "hot_load",
        "hot_add",
    ];
    // cold_pop is called at one place, which loads the rest itself.
    let called = [
        "cold_closure",
        "cold_odd",
        "cold_even_by_table",
        "cold_wide",
        "cold_none",
    ];
    assert_eq!(
        first.bodies.len(),
        hot.len() + called.len() + 1,
        "and the one that loads the rest"
    );
    // add_ten, double, hot_even.
    assert_eq!(parts.called_by_rest, 3);
}

#[test]
fn without_cold_functions_there_is_no_rest() {
    assert!(split(&whole(), |_| false).unwrap().is_none());
    let nameless = without_custom_sections(&whole()).unwrap();
    assert!(split(&nameless, |_| true).unwrap().is_none());
}

#[test]
fn a_function_that_runs_at_the_start_stays_in_the_first_part() {
    let parts = split(&whole(), |name| name == "start" || name == "cold_none")
        .unwrap()
        .unwrap();
    let running = Running::start(&parts.first, Some(&parts.rest));
    assert_eq!(running.store.data().loads, 0);
}

#[test]
fn no_part_has_names() {
    let parts = parts(&whole());
    for bytes in [&parts.first, &parts.rest] {
        let bytes = without_custom_sections(bytes).unwrap();
        assert!(!contains(&bytes, b"cold_") && !contains(&bytes, b"hot_"));
        assert!(wasmi::Module::new(&Engine::default(), &bytes).is_ok());
    }
}

#[test]
fn what_cannot_be_split_is_an_error() {
    for text in [
        r#"(module (import "a" "memory" (memory 1)))"#,
        "(module (func $f) (elem declare func $f) (func $g (drop (ref.func $f))) (export \"g\" (func $g)))",
        "(module (import \"a\" \"b\" (func)) (table 2 funcref) (func $cold_f) (elem (offset (i32.const 0)) funcref (ref.func $cold_f)))",
    ] {
        assert!(split(&wat::parse_str(text).unwrap(), |_| true).is_err(), "{text}");
    }
    assert!(split(&whole()[..200], |_| true).is_err());
}

#[test]
fn each_function_marks_that_it_ran() {
    let marked = profile::instrument(&whole()).unwrap();
    let mut running = Running::start(&marked, None);
    let ran = |running: &Running| {
        let globals = running.instance.exports(&running.store).filter_map(|export| {
            let name = export
                .name()
                .strip_prefix(profile::RAN)?
                .splitn(3, ' ')
                .nth(2)?
                .to_owned();
            Some((name, export.into_global()?))
        });
        let ran = globals.filter(|(_, global)| matches!(global.get(&running.store), Val::I32(1)));
        ran.map(|(name, _)| name).collect::<BTreeSet<_>>()
    };
    assert_eq!(Vec::from_iter(ran(&running)), ["start"]);
    running.call("even", &[Val::I32(1)]);
    assert_eq!(Vec::from_iter(ran(&running)), ["cold_odd", "hot_even", "start"]);
}

#[test]
fn names_are_the_same_on_each_machine() {
    for (name, stable) in [
        ("core[1f2e3d4c5b6a7988]::fmt::write", "core::fmt::write"),
        ("<[u8]>::f::<[T; 4], alloc[99]>", "<[u8]>::f::<[T; 4], alloc[99]>"),
        ("core::fmt::write::h0123456789abcdef", "core::fmt::write"),
        ("a::height", "a::height"),
    ] {
        assert_eq!(names::stable(name), stable);
    }
    let long = |end: &str| names::stable(&format!("{}{end}", "é::".repeat(100)));
    assert_ne!(long("a"), long("b"));
    assert!(long("a").chars().count() < 220);
}

/// A function whose regions have each kind of exit, for each number from 0.
const REGIONS: &str = r#"
(module
  (import "./a_bg.js" "add_ten" (func $add_ten (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $steps (mut i32) (i32.const 0))

  ;; Arms of a table of jumps, which fall through, return, jump out of a loop and to its start, and have values of their own.
  (func $arms (export "arms") (param $kind i32) (param $wide i64) (result i64)
    (local $sum i64) (local $round i32) (local $kept i32) (local $float f64)
    (local.set $kept (i32.const 7))
    (block $done
      (loop $again
        (global.set $steps (i32.add (global.get $steps) (i32.const 1)))
        (local.set $round (i32.add (local.get $round) (i32.const 1)))
        (block $four (block $three (block $two (block $one (block $zero
          (br_table $zero $one $two $three $four (local.get $kind)))
          ;; Falls to the end of the loop.
          (local.set $sum (i64.add (local.get $sum) (i64.mul (local.get $wide) (i64.const 1000001))))
          (local.set $float (f64.add (local.get $float) (f64.convert_i64_s (local.get $sum))))
          (i32.store (i32.const 64) (call $add_ten (i32.trunc_sat_f64_s (local.get $float))))
          (br $done))
          ;; Starts the loop again, twice, with another arm the last time.
          (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (i32.mul (local.get $round) (i32.const 77777)))))
          (local.set $kept (i32.add (local.get $kept) (local.get $round)))
          (br_if $again (i32.lt_u (local.get $round) (i32.const 3)))
          (local.set $kind (i32.const 0))
          (br $again))
          ;; Returns from the middle or the end.
          (if (i64.gt_s (local.get $wide) (i64.const 100))
            (then (return (i64.add (local.get $wide) (i64.const 0x7777777777)))))
          (local.set $sum (i64.add (i64.mul (local.get $wide) (i64.const 0x5555555555)) (i64.extend_i32_s (local.get $kept))))
          (return (local.get $sum)))
        ;; A table of jumps inside: to a block of its own, to the start, and out.
        (block $own (block $other
          (br_table $own $other $done $again $done
            (i32.rem_u (i32.add (i32.wrap_i64 (local.get $wide)) (i32.mul (local.get $round) (i32.const 2))) (i32.const 5))))
          (local.set $kept (i32.add (local.get $kept) (i32.const 123456)))
          (br $done))
        (local.set $sum (i64.add (local.get $sum) (i64.const 0x123456789)))
        (local.set $kept (i32.mul (local.get $kept) (i32.const 3)))
        (br $done))
      ;; A value of a block, written only on one way.
      (local.set $sum (i64.add (local.get $sum)
        (if (result i64) (i64.eqz (local.get $wide))
          (then
            (local.set $kept (i32.const 1000))
            (global.set $steps (i32.add (global.get $steps) (i32.const 100)))
            (i64.add (i64.const 0x3333333333) (i64.extend_i32_u (call $add_ten (i32.mul (local.get $kept) (i32.const 99999))))))
          (else
            (global.set $steps (i32.add (global.get $steps) (i32.const 10000)))
            (i64.mul (i64.const 0x4444444444) (i64.extend_i32_u (call $add_ten (i32.mul (local.get $kept) (i32.const 88888)))))))))
      )
    )
    (i64.add (local.get $sum) (i64.extend_i32_u (local.get $kept))))

  ;; A local that is written on one way to an exit and read behind it, in the last round of a loop too.
  (func $ways (export "ways") (param $first i32) (param $second i32) (result i32)
    (local $written i32) (local $round i32)
    (local.set $written (i32.const 5))
    (loop $again
      (block $out
        (if (local.get $first) (then
          (br_if $out (i32.eq (local.get $second) (i32.const 1)))
          (i32.store (i32.const 80) (i32.mul (local.get $written) (i32.const 1234567)))
          (local.set $written (i32.add (i32.mul (local.get $first) (i32.const 99999)) (i32.load (i32.const 80))))
          (br_if $out (i32.eq (local.get $second) (i32.const 2)))
          (local.set $written (i32.add (local.get $written) (i32.mul (local.get $round) (i32.const 31)))))))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $round) (local.get $second))))
    (i32.add (local.get $written) (i32.load (i32.const 80))))

  (func (export "steps") (result i32) (i32.add (global.get $steps) (i32.load (i32.const 64)))))"#;

fn calls_of_regions() -> Vec<(&'static str, Vec<Val>)> {
    let mut calls = Vec::new();
    for kind in 0..6 {
        for wide in [0, 1, 2, 3, 4, 5, 101, -1, i64::MIN] {
            calls.push(("arms", vec![Val::I32(kind), Val::I64(wide)]));
            calls.push(("steps", vec![]));
        }
    }
    for first in [0, 1, 9] {
        calls.extend((0..5).map(|second| ("ways", vec![Val::I32(first), Val::I32(second)])));
    }
    calls
}

/// The regions of the function with this name, if it has one: their numbers.
fn regions(bytes: &[u8]) -> Vec<(String, usize)> {
    let binary = Binary::parse(bytes).unwrap();
    let codes = super::regions::all(bytes, &binary).unwrap();
    let name = |number: usize| binary.names[&u32::try_from(binary.imported_functions + number).unwrap()].to_owned();
    let of = |(number, code): (usize, &super::regions::Code<'_>)| (name(number), code.regions.len());
    codes
        .iter()
        .enumerate()
        .filter(|(_, code)| !code.regions.is_empty())
        .map(of)
        .collect()
}

fn outlined(bytes: &[u8], function: &str, chosen: &BTreeSet<usize>) -> Vec<u8> {
    super::outline::outline(bytes, i64::MIN, |name, _| (name == function).then(|| chosen.clone())).unwrap()
}

#[test]
fn regions_that_are_functions_compute_what_they_did() {
    let bytes = wat::parse_str(REGIONS).unwrap();
    let mut whole = Running::start(&bytes, None);
    let expected: Vec<_> = calls_of_regions()
        .iter()
        .map(|(name, parameters)| whole.call(name, parameters))
        .collect();
    let mut functions = BTreeSet::new();
    for (function, count) in regions(&bytes) {
        // Each region alone, and all together: then the outermost ones are taken.
        let alone = (0..count).map(|region| BTreeSet::from([region]));
        for chosen in alone.chain([(0..count).collect()]) {
            let outlined = outlined(&bytes, &function, &chosen);
            let parts = split(&outlined, |name| name.starts_with(super::outline::NAME)).unwrap();
            let Some(parts) = parts else { continue };
            functions.insert((function.clone(), chosen.clone()));
            let mut split = Running::start(&parts.first, Some(&parts.rest));
            for ((name, parameters), expected) in calls_of_regions().iter().zip(&expected) {
                assert_eq!(
                    split.call(name, parameters),
                    *expected,
                    "{name} {parameters:?} with regions {chosen:?} of {function}"
                );
            }
            assert_eq!(split.store.data().loads, 1);
        }
    }
    assert!(functions.len() >= 10, "most regions are functions: {functions:?}");
}

#[test]
fn regions_of_a_function_with_another_shape_stay() {
    let bytes = wat::parse_str(REGIONS).unwrap();
    let list = "arms\t00000000\t0-30\n";
    let cold = super::Cold::parse(list).unwrap();
    let same = super::outline::outline(&bytes, i64::MIN, |name, shape| cold.regions(name, shape)).unwrap();
    assert_eq!(
        Binary::parse(&same).unwrap().bodies.len(),
        Binary::parse(&bytes).unwrap().bodies.len()
    );
}

#[test]
fn a_region_that_was_not_reached_has_no_mark() {
    let marked = profile::instrument(&wat::parse_str(REGIONS).unwrap()).unwrap();
    let mut running = Running::start(&marked, None);
    let reached = |running: &Running| {
        let marks = running
            .instance
            .exports(&running.store)
            .filter(|export| export.name().starts_with(profile::REACHED));
        marks
            .filter(|export| matches!(export.clone().into_global().unwrap().get(&running.store), Val::I32(1)))
            .count()
    };
    assert_eq!(reached(&running), 0);
    running.call("arms", &[Val::I32(0), Val::I64(1)]);
    let one = reached(&running);
    running.call("arms", &[Val::I32(3), Val::I64(1)]);
    assert!(one > 0 && reached(&running) > one);
}

#[test]
fn the_list_has_functions_and_regions() {
    let cold = super::Cold::parse("a::b\n<c as d>::e\t00c0ffee\t0 3-5 9\n").unwrap();
    assert_eq!(Vec::from_iter(cold.functions.iter().copied()), ["a::b"]);
    assert_eq!(
        cold.regions("<c as d>::e", 0xc0_ffee),
        Some(BTreeSet::from([0, 3, 4, 5, 9]))
    );
    assert_eq!(cold.regions("<c as d>::e", 1), None, "another build's function");
    assert!(super::Cold::parse("a\tb").is_err() && super::Cold::parse("a\t1\tx").is_err());
}

/// The panic handler returns the line, the column and the last bytes of the path of the location that it gets. `%` is the name of the handler.
const LOCATIONS: &str = r#"
(module
  (import "./a_bg.js" "double" (func $double (param i32) (result i32)))
  (memory (export "memory") 1)
  (func $hot (export "read") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "panic") (param i32) (result i32) (call $% (local.get 0)))
  (func $% (param i32) (result i32)
    (i32.add
      (call $double (i32.load offset=8 (local.get 0)))
      (i32.add (i32.load offset=12 (local.get 0))
        (i32.load (i32.sub (i32.add (i32.load (local.get 0)) (i32.load offset=4 (local.get 0))) (i32.const 4))))))
  ;; At 1001: a path, its locations, and the same numbers with a text that is no path, with no line, and with a path that is cut off.
  (data (i32.const 1001) "src/a.rs.text__\e9\03\00\00\08\00\00\00\07\00\00\00\05\00\00\00\e9\03\00\00\08\00\00\00\70\00\00\00\50\00\00\00")
  (data (i32.const 1048) "\e9\03\00\00\0d\00\00\00\07\00\00\00\05\00\00\00\e9\03\00\00\08\00\00\00\00\00\00\00\05\00\00\00")
  (data (i32.const 1080) "\00\f0\00\00\08\00\00\00\07\00\00\00\05\00\00\00"))"#;

#[test]
fn where_panics_are_is_in_the_rest_with_the_panic_handler() {
    let bytes = wat::parse_str(LOCATIONS.replace('%', "rust_begin_unwind")).unwrap();
    let parts = split(&bytes, |name| name.ends_with("rust_begin_unwind"))
        .unwrap()
        .unwrap();
    assert!(!contains(&parts.first, b"src/a.rs") && contains(&parts.rest, b"src/a.rs"));
    let mut whole = Running::start(&bytes, None);
    let mut split = Running::start(&parts.first, Some(&parts.rest));
    let read = |running: &mut Running| -> Vec<String> {
        (1000..1096)
            .map(|address| running.call("read", &[Val::I32(address)]))
            .collect()
    };
    let (all, first) = (read(&mut whole), read(&mut split));
    let same = |from: usize, to: usize| first[from - 1000..to - 1000] == all[from - 1000..to - 1000];
    assert!(same(1009, 1013), "the text behind the path");
    assert!(same(1048, 1093), "what is no location");
    assert!(!same(1016, 1017) && !same(1032, 1033));
    for location in [1016, 1032] {
        let panic = |running: &mut Running| running.call("panic", &[Val::I32(location)]);
        assert_eq!(panic(&mut split), panic(&mut whole));
    }
    assert_eq!(read(&mut split), all);
}

#[test]
fn where_panics_are_stays_where_the_panic_handler_is() {
    let bytes = wat::parse_str(LOCATIONS.replace('%', "another")).unwrap();
    let parts = split(&bytes, |name| name == "another").unwrap().unwrap();
    assert!(contains(&parts.first, b"src/a.rs") && !contains(&parts.rest, b"src/a.rs"));
}
