"""Devices over ssh: a command of this machine runs there, and its answers come back.

    hosts        user@host[:port], and what is refused of it
    connection   the system's own ssh, and a program at its other end
    sending      which files a command needs there, by their sha256
    jobs         one command on several devices, side by side
    wheel        this install of edgecnn as a wheel, for `edgecnn setup`

wire, cache, agent and installer run on the device: their source is sent with each connection, so both ends speak the same, and a device on which
nothing is installed can be set up. They import the standard library and each other alone, and none of edgecnn's other modules.

Through the device's shell goes one fixed line. All else, arguments and names of files included, travels in frames (wire.py).
"""

from __future__ import annotations
