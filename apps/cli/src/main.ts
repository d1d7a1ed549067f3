#!/usr/bin/env node
/** Entry of the `refl` command. */
import process from "node:process";
import { runCli } from "./program.ts";
import { processTerminal } from "./terminal.ts";

process.exitCode = await runCli(process.argv.slice(2), processTerminal());
