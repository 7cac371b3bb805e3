//! Makes a function of each region that a first visit does not run, so that it can be split off: the compiler puts all of a reducer or a
//! view into one function, of which a first visit runs a small part.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use wasm_encoder::{
    CodeSection, Function, FunctionSection, Instruction, Module, NameMap, NameSection, ValType,
    reencode::{Reencode, RoundtripReencoder},
};
use wasmparser::{BlockType, Operator};

use super::{
    binary::Binary,
    regions::{self, Code, Region},
};

/// What a region saves at least, in bytes before compression, less what its call costs. It was tried: less or more makes the first part larger.
pub(crate) const GAIN: i64 = 0;
/// More parameters or results are not worth it.
const MOST_VALUES: usize = 24;

/// The beginning of the names of the new functions.
pub(crate) const NAME: &str = "region of ";

/// The binary with more functions. `is_cold` tells of a function, by its stable name and shape, the numbers of its regions that did not run;
/// those that save less than `gain` stay.
pub(crate) fn outline(
    bytes: &[u8],
    gain: i64,
    is_cold: impl Fn(&str, u32) -> Option<BTreeSet<usize>>,
) -> anyhow::Result<Vec<u8>> {
    let binary = Binary::parse(bytes)?;
    let codes = regions::all(bytes, &binary)?;
    let mut types = binary.encoded_types()?;
    let mut known_types: BTreeMap<(Vec<ValType>, Vec<ValType>), u32> = BTreeMap::new();
    let mut names: BTreeMap<u32, String> = binary
        .names
        .iter()
        .map(|(index, name)| (*index, (*name).to_owned()))
        .collect();
    let mut functions = FunctionSection::new();
    for ty in &binary.functions[binary.imported_functions..] {
        functions.function(*ty);
    }
    let mut bodies = Vec::new();
    let mut outlined = Vec::new();
    let mut next = u32::try_from(binary.functions.len())?;
    for (index, code) in (binary.imported_functions..).zip(&codes) {
        let name = binary.names.get(&u32::try_from(index)?).copied().unwrap_or_default();
        let cold = is_cold(name, code.shape).unwrap_or_default();
        let results = binary.types[usize::try_from(binary.functions[index])?]
            .results()
            .to_vec();
        let mut plans: Vec<Outlined> = Vec::new();
        for (number, region) in code.regions.iter().enumerate() {
            let inside = plans.last().is_some_and(|plan| region.start < plan.end);
            if cold.contains(&number) && !inside {
                plans.extend(Outlined::of(code, region, &results, gain)?);
            }
        }
        for plan in &mut plans {
            let signature = (plan.parameter_types.clone(), plan.result_types.clone());
            let ty = *known_types
                .entry(signature)
                .or_insert_with_key(|(parameters, results)| {
                    let ty = types.len();
                    types.ty().function(parameters.iter().copied(), results.iter().copied());
                    ty
                });
            functions.function(ty);
            names.insert(next, format!("{NAME}{name}"));
            plan.function = next;
            next += 1;
            outlined.push(plan.body.clone());
        }
        bodies.push(if plans.is_empty() {
            None
        } else {
            Some(with_calls(
                code,
                &plans,
                binary.types[usize::try_from(binary.functions[index])?].params().len(),
            )?)
        });
    }

    let mut code = CodeSection::new();
    for (body, own) in bodies.iter().zip(&binary.bodies) {
        match body {
            Some(body) => code.function(body),
            None => code.raw(own.as_bytes()),
        };
    }
    for body in &outlined {
        code.function(body);
    }
    let mut name_map = NameMap::new();
    for (index, name) in &names {
        name_map.append(*index, name);
    }
    let mut name_section = NameSection::new();
    name_section.functions(&name_map);
    let mut rewritten = Rewrite {
        types,
        functions,
        code: Some(code),
    };
    let mut module = Module::new();
    rewritten
        .parse_core_module(&mut module, wasmparser::Parser::new(0), bytes)
        .context("cannot outline")?;
    module.section(&name_section);
    Ok(module.finish())
}

/// Where control goes behind a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Exit {
    /// To the end of the block around it.
    Fall,
    /// To the label of another block around it, 0 is the inner one.
    Label(u32),
    Return,
}

/// A region as a function.
struct Outlined {
    start: usize,
    end: usize,
    function: u32,
    body: Function,
    parameter_types: Vec<ValType>,
    result_types: Vec<ValType>,
    /// The locals that are its parameters, and those that get its last results.
    parameters: Vec<u32>,
    results: Vec<u32>,
    /// With the type of the value that the exit carries.
    exits: Vec<(Exit, Option<ValType>)>,
    /// The types of values that exits carry: results before those of locals.
    values: Vec<ValType>,
}

impl Outlined {
    /// None if it is not worth it, or has something that this does not do.
    fn of(
        code: &Code<'_>,
        region: &Region,
        returned: &[wasmparser::ValType],
        gain: i64,
    ) -> anyhow::Result<Option<Self>> {
        let bytes = code.offsets[region.end] - code.offsets[region.start];
        let own = &code.operators[region.start..region.end];
        let outer = u32::try_from(region.labels.len())? - 1;

        // The exits, and how the region uses locals.
        let mut exits: BTreeMap<Exit, Option<ValType>> = BTreeMap::new();
        let mut depth = 0_u32;
        let mut written = BTreeSet::new();
        let mut needed = BTreeSet::new();
        let mut definitely_written = BTreeSet::new();
        let mut has_exits = false;
        let of_types = |types: &[wasmparser::ValType]| match types {
            [] => Some(None),
            [
                ty @ (wasmparser::ValType::I32
                | wasmparser::ValType::I64
                | wasmparser::ValType::F32
                | wasmparser::ValType::F64),
            ] => RoundtripReencoder.val_type(*ty).ok().map(Some),
            _ => None,
        };
        let value_of = |exit: Exit| match exit {
            Exit::Return => of_types(returned),
            Exit::Fall | Exit::Label(_) => {
                let label = match exit {
                    Exit::Label(label) => label,
                    _ => 0,
                };
                if label == outer {
                    return of_types(returned);
                }
                let label = &region.labels[usize::try_from(label).unwrap_or_default()];
                match (label.ty, label.is_loop && exit != Exit::Fall) {
                    (BlockType::Empty, _) | (BlockType::Type(_), true) => Some(None),
                    (BlockType::Type(ty), false) => of_types(&[ty]),
                    (BlockType::FuncType(_), _) => None,
                }
            }
        };
        let to = |label: u32| exit_to(label, outer, region);
        for operator in own {
            let mut leaves: Vec<Exit> = Vec::new();
            let mut keeps_value = false;
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
                Operator::End => depth -= 1,
                Operator::Br { relative_depth } if *relative_depth >= depth => leaves.push(to(relative_depth - depth)),
                Operator::BrIf { relative_depth } if *relative_depth >= depth => {
                    keeps_value = true;
                    leaves.push(to(relative_depth - depth));
                }
                Operator::BrTable { targets } => {
                    keeps_value = true;
                    for target in targets.targets().chain([Ok(targets.default())]) {
                        let target = target?;
                        if target >= depth {
                            leaves.push(to(target - depth));
                        }
                    }
                }
                Operator::Return => leaves.push(Exit::Return),
                Operator::LocalGet { local_index } if !definitely_written.contains(local_index) => {
                    needed.insert(*local_index);
                }
                Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                    written.insert(*local_index);
                    if depth == 0 && !has_exits {
                        definitely_written.insert(*local_index);
                    }
                }
                Operator::ReturnCall { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. }
                | Operator::TryTable { .. }
                | Operator::BrOnNull { .. }
                | Operator::BrOnNonNull { .. }
                | Operator::BrOnCast { .. }
                | Operator::BrOnCastFail { .. } => return Ok(None),
                _ => {}
            }
            for exit in leaves {
                has_exits = true;
                let Some(value) = value_of(exit).filter(|value| value.is_none() || !keeps_value) else {
                    return Ok(None);
                };
                exits.insert(exit, value);
            }
        }
        if region.falls_through {
            let Some(value) = value_of(Exit::Fall) else {
                return Ok(None);
            };
            exits.insert(Exit::Fall, value);
        }

        // Locals that something else than the region reads, or the region itself when it runs again.
        let outside = code.operators[..region.start]
            .iter()
            .chain(&code.operators[region.end..]);
        let read_outside: BTreeSet<u32> = outside
            .filter_map(|operator| match operator {
                Operator::LocalGet { local_index } => Some(*local_index),
                _ => None,
            })
            .collect();
        let results: Vec<u32> = written
            .iter()
            .copied()
            .filter(|local| read_outside.contains(local) || needed.contains(local))
            .collect();
        // A result that was not written on the way to an exit is what it was before.
        needed.extend(results.iter().filter(|local| !definitely_written.contains(*local)));
        let type_of = |local: u32| -> anyhow::Result<ValType> {
            let ty = code
                .locals
                .get(usize::try_from(local)?)
                .context("there is no such local")?;
            Ok(RoundtripReencoder.val_type(*ty)?)
        };
        let sorted = |locals: Vec<u32>| -> anyhow::Result<Vec<(u32, ValType)>> {
            let mut locals = locals
                .into_iter()
                .map(|local| Ok((local, type_of(local)?)))
                .collect::<anyhow::Result<Vec<_>>>()?;
            // Fewer different types of functions.
            locals.sort_by_key(|(local, ty)| (order(*ty), *local));
            Ok(locals)
        };
        let parameters = sorted(needed.iter().copied().collect())?;
        let results = sorted(results)?;
        let plain = |locals: &[(u32, ValType)]| locals.iter().all(|(_, ty)| order(*ty) < 4);
        let exits: Vec<_> = exits.into_iter().collect();
        let values: BTreeSet<_> = exits
            .iter()
            .filter_map(|(_, value)| value.map(|ty| (order(ty), ty)))
            .map(|(order, _)| order)
            .collect();
        let values: Vec<ValType> = values.into_iter().map(|order| TYPES[order]).collect();
        let cost = 12 + 2 * (parameters.len() + results.len() + values.len()) + 7 * exits.len();
        if !plain(&parameters)
            || !plain(&results)
            || parameters.len() > MOST_VALUES
            || results.len() > MOST_VALUES
            || i64::try_from(bytes)? - i64::try_from(cost)? < gain
        {
            return Ok(None);
        }

        // Its own locals: parameters, the others that it uses, then the exit and the values.
        let mut locals: BTreeMap<u32, u32> = BTreeMap::new();
        for (local, _) in &parameters {
            locals.insert(*local, u32::try_from(locals.len())?);
        }
        let mut declared = Vec::new();
        for operator in own {
            if let Operator::LocalGet { local_index }
            | Operator::LocalSet { local_index }
            | Operator::LocalTee { local_index } = operator
                && !locals.contains_key(local_index)
            {
                locals.insert(*local_index, u32::try_from(locals.len())?);
                declared.push(type_of(*local_index)?);
            }
        }
        for (result, ty) in &results {
            debug_assert!(locals.contains_key(result), "{ty:?}");
        }
        let selector = u32::try_from(locals.len())?;
        declared.push(ValType::I32);
        declared.extend(&values);
        let scratch = selector + 1 + u32::try_from(values.len())?;
        declared.push(ValType::I32);
        let has_selector = exits.len() > 1;

        let mut body = Function::new_with_locals_types(declared);
        body.instruction(&Instruction::Block(wasm_encoder::BlockType::Empty));
        // Keeps the value and the number of the exit, and jumps to the end, `depth` blocks away.
        let leave = |body: &mut Function, exit: Exit, depth: Option<u32>| {
            let (number, value) = exits
                .iter()
                .enumerate()
                .find(|(_, (known, _))| *known == exit)
                .map(|(number, (_, value))| (number, *value))
                .context("an exit is missing")?;
            if let Some(position) = value.and_then(|value| values.iter().position(|ty| *ty == value)) {
                body.instruction(&Instruction::LocalSet(selector + 1 + u32::try_from(position)?));
            }
            if has_selector && number > 0 {
                body.instruction(&Instruction::I32Const(i32::try_from(number)?))
                    .instruction(&Instruction::LocalSet(selector));
            }
            if let Some(depth) = depth {
                body.instruction(&Instruction::Br(depth));
            }
            anyhow::Ok(())
        };
        let mut depth = 0_u32;
        for operator in own {
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
                Operator::End => depth -= 1,
                _ => {}
            }
            match operator {
                Operator::Br { relative_depth } if *relative_depth >= depth => {
                    leave(&mut body, to(relative_depth - depth), Some(depth))?;
                }
                Operator::BrIf { relative_depth } if *relative_depth >= depth => {
                    if has_selector {
                        body.instruction(&Instruction::If(wasm_encoder::BlockType::Empty));
                        leave(&mut body, to(relative_depth - depth), Some(depth + 1))?;
                        body.instruction(&Instruction::End);
                    } else {
                        body.instruction(&Instruction::BrIf(depth));
                    }
                }
                Operator::Return => leave(&mut body, Exit::Return, Some(depth))?,
                Operator::BrTable { targets }
                    if targets
                        .targets()
                        .chain([Ok(targets.default())])
                        .any(|target| target.is_ok_and(|target| target >= depth)) =>
                {
                    let all: Vec<u32> = targets
                        .targets()
                        .chain([Ok(targets.default())])
                        .collect::<Result<_, _>>()?;
                    let mut outer: Vec<Exit> = all
                        .iter()
                        .filter(|target| **target >= depth)
                        .map(|target| to(target - depth))
                        .collect();
                    outer.sort();
                    outer.dedup();
                    let blocks = u32::try_from(outer.len())?;
                    body.instruction(&Instruction::LocalSet(scratch));
                    for _ in &outer {
                        body.instruction(&Instruction::Block(wasm_encoder::BlockType::Empty));
                    }
                    body.instruction(&Instruction::LocalGet(scratch));
                    let mapped = all.iter().map(|target| {
                        if *target >= depth {
                            let exit = to(target - depth);
                            outer
                                .iter()
                                .position(|known| *known == exit)
                                .and_then(|position| u32::try_from(position).ok())
                                .unwrap_or_default()
                        } else {
                            target + blocks
                        }
                    });
                    let mut mapped: Vec<u32> = mapped.collect();
                    let default = mapped.pop().context("a table of jumps is empty")?;
                    body.instruction(&Instruction::BrTable(mapped.into(), default));
                    for (position, exit) in outer.iter().enumerate() {
                        body.instruction(&Instruction::End);
                        let left = blocks - 1 - u32::try_from(position)?;
                        leave(&mut body, *exit, Some(depth + left))?;
                    }
                }
                Operator::LocalGet { local_index } => {
                    body.instruction(&Instruction::LocalGet(locals[local_index]));
                }
                Operator::LocalSet { local_index } => {
                    body.instruction(&Instruction::LocalSet(locals[local_index]));
                }
                Operator::LocalTee { local_index } => {
                    body.instruction(&Instruction::LocalTee(locals[local_index]));
                }
                other => {
                    body.instruction(&RoundtripReencoder.instruction(other.clone())?);
                }
            }
        }
        if region.falls_through {
            leave(&mut body, Exit::Fall, None)?;
        }
        body.instruction(&Instruction::End);
        let mut result_types = Vec::new();
        if has_selector {
            body.instruction(&Instruction::LocalGet(selector));
            result_types.push(ValType::I32);
        }
        for (position, ty) in values.iter().enumerate() {
            body.instruction(&Instruction::LocalGet(selector + 1 + u32::try_from(position)?));
            result_types.push(*ty);
        }
        for (local, ty) in &results {
            body.instruction(&Instruction::LocalGet(locals[local]));
            result_types.push(*ty);
        }
        body.instruction(&Instruction::End);
        Ok(Some(Self {
            start: region.start,
            end: region.end,
            function: 0,
            body,
            parameter_types: parameters.iter().map(|(_, ty)| *ty).collect(),
            result_types,
            parameters: parameters.iter().map(|(local, _)| *local).collect(),
            results: results.iter().map(|(local, _)| *local).collect(),
            exits,
            values,
        }))
    }

    /// Calls the function in place of the region. The locals for its exit and its values begin at `locals`.
    fn call(&self, function: &mut Function, locals: u32) -> anyhow::Result<()> {
        for local in &self.parameters {
            function.instruction(&Instruction::LocalGet(*local));
        }
        function.instruction(&Instruction::Call(self.function));
        for local in self.results.iter().rev() {
            function.instruction(&Instruction::LocalSet(*local));
        }
        let value_local = |ty: ValType| u32::try_from(order(ty)).map(|order| locals + 1 + order);
        for ty in self.values.iter().rev() {
            function.instruction(&Instruction::LocalSet(value_local(*ty)?));
        }
        let go = |function: &mut Function, (exit, value): (Exit, Option<ValType>), depth: u32| {
            if let Some(ty) = value {
                function.instruction(&Instruction::LocalGet(value_local(ty)?));
            }
            match exit {
                Exit::Fall => {}
                Exit::Label(label) => {
                    function.instruction(&Instruction::Br(label + depth));
                }
                Exit::Return => {
                    function.instruction(&Instruction::Return);
                }
            }
            anyhow::Ok(())
        };
        match &self.exits[..] {
            [] => {
                function.instruction(&Instruction::Unreachable);
            }
            [exit] => go(function, *exit, 0)?,
            // 0 is the first one, which is the end of the block if that is an exit: it comes last.
            [first, second] => {
                function.instruction(&Instruction::If(wasm_encoder::BlockType::Empty));
                go(function, *second, 1)?;
                function.instruction(&Instruction::End);
                go(function, *first, 0)?;
            }
            [first, others @ ..] => {
                function.instruction(&Instruction::LocalSet(locals));
                for (number, exit) in (1..).zip(others) {
                    function
                        .instruction(&Instruction::LocalGet(locals))
                        .instruction(&Instruction::I32Const(number));
                    function
                        .instruction(&Instruction::I32Eq)
                        .instruction(&Instruction::If(wasm_encoder::BlockType::Empty));
                    go(function, *exit, 1)?;
                    function.instruction(&Instruction::End);
                }
                go(function, *first, 0)?;
            }
        }
        Ok(())
    }
}

/// Where a jump to a label around the region goes.
fn exit_to(label: u32, outer: u32, region: &Region) -> Exit {
    if label == outer {
        Exit::Return
    } else if label == 0 && !region.labels[0].is_loop {
        Exit::Fall
    } else {
        Exit::Label(label)
    }
}

const TYPES: [ValType; 4] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64];

/// The place of a type among [`TYPES`], or behind them.
fn order(ty: ValType) -> usize {
    TYPES.iter().position(|known| *known == ty).unwrap_or(TYPES.len())
}

/// The code of a function with calls in place of regions.
fn with_calls(code: &Code<'_>, plans: &[Outlined], parameters: usize) -> anyhow::Result<Function> {
    let mut declared = Vec::new();
    for ty in &code.locals[parameters..] {
        declared.push(RoundtripReencoder.val_type(*ty)?);
    }
    let extra = u32::try_from(code.locals.len())?;
    if plans.iter().any(|plan| plan.exits.len() > 2 || !plan.values.is_empty()) {
        declared.push(ValType::I32);
    }
    if plans.iter().any(|plan| !plan.values.is_empty()) {
        declared.extend(TYPES);
    }
    let mut function = Function::new_with_locals_types(declared);
    let mut plans = plans.iter().peekable();
    let mut index = 0;
    while index < code.operators.len() {
        if let Some(plan) = plans.next_if(|plan| plan.start == index) {
            plan.call(&mut function, extra)?;
            index = plan.end;
        } else {
            function.instruction(&RoundtripReencoder.instruction(code.operators[index].clone())?);
            index += 1;
        }
    }
    Ok(function)
}

/// Copies a module with other types, functions and code.
struct Rewrite {
    types: wasm_encoder::TypeSection,
    functions: FunctionSection,
    code: Option<CodeSection>,
}

impl Reencode for Rewrite {
    type Error = std::convert::Infallible;

    fn parse_type_section(
        &mut self,
        types: &mut wasm_encoder::TypeSection,
        _: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), wasm_encoder::reencode::Error> {
        *types = self.types.clone();
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        _: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), wasm_encoder::reencode::Error> {
        *functions = self.functions.clone();
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut CodeSection,
        _: wasmparser::FunctionBody<'_>,
    ) -> Result<(), wasm_encoder::reencode::Error> {
        if let Some(all) = self.code.take() {
            *code = all;
        }
        Ok(())
    }

    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: wasmparser::CustomSectionReader<'_>,
    ) -> Result<(), wasm_encoder::reencode::Error> {
        if section.name() == "target_features" {
            self.custom_section(section).map(|section| {
                module.section(&section);
            })?;
        }
        Ok(())
    }
}
