# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Is it the right contract, and the same everywhere?"""

from __future__ import annotations

import difflib
from pathlib import Path

from diwa.data.contract import Contract, load_contract
from diwa.data.findings import Finding, from_error, repair_command
from diwa.data.manifest import CONTRACT, MANIFEST, Manifest, table_hash
from diwa.errors import ConfigError


def check_contract(folder: Path, manifest: Manifest, contract: Contract | None) -> list[Finding]:
    """Compare the dataset's contract with its copy, and with the given one if there is one."""
    findings = []
    if contract is not None and contract != manifest.contract:
        findings.append(
            Finding(
                check="contract",
                file=MANIFEST,
                what="another contract than the given one" + _difference(manifest, contract),
                expected="the same contract everywhere",
                advice="use the contract that the data carries, or build the dataset again",
            )
        )
    path = folder / CONTRACT
    if not path.exists():
        findings.append(
            Finding(
                check="contract",
                severity="warning",
                file=CONTRACT,
                what="the copy of the contract is missing",
                advice=repair_command(folder),
                repairable=True,
            )
        )
        return findings
    try:
        copy = load_contract(path)
    except ConfigError as error:
        finding = from_error("contract", CONTRACT, error)
        return [*findings, finding.model_copy(update={"repairable": True})]
    if copy != manifest.contract:
        known = confirmed_contract(manifest, copy) is not None
        findings.append(
            Finding(
                check="contract",
                file=CONTRACT,
                what=f"it is not the contract in {MANIFEST}" + _difference(manifest, copy),
                expected="twice the same: neither file is meant to be edited",
                advice=repair_command(folder) if known else "build the dataset again from its bags",
                repairable=known,
            )
        )
    return findings


def confirmed_contract(manifest: Manifest, copy: Contract) -> Contract | None:
    """Which of two contracts the dataset's hash was made with; None when neither."""
    for contract in (manifest.contract, copy):
        if table_hash(contract, manifest.episodes) == manifest.hash:
            return contract
    return None


def _difference(manifest: Manifest, other: Contract) -> str:
    lines = difflib.unified_diff(
        manifest.contract.to_yaml().splitlines(),
        other.to_yaml().splitlines(),
        MANIFEST,
        "the other",
        lineterm="",
        n=0,
    )
    return "".join(f"\n    {line}" for line in lines)
