"""Arm without a board: an emulated arm64 machine, what edgecnn answers on it, and how many instructions that takes.

    machine.py   builds the machine: Debian's arm64 Python, the real aarch64 wheels, an emulator for user programs
    nets.py      the networks that are tried: the artifacts that ship, and their float32 twins
    answers.py   the commands and the answers there, beside this machine's
    counts.py    instructions an inference, beside the figures kept in counts.json
    peers.py     the same for other runtimes

on_device/ holds what runs inside.
"""
