# SPDX-License-Identifier: GPL-3.0-or-later
"""The preferences: is there a server, what has it got, start one here, use one elsewhere. Asks nothing by itself.

No `from __future__ import annotations`: Blender reads the annotations as they are.
"""

import contextlib

import bpy
from bpy.props import StringProperty

from . import asking, dependencies, runner, server, versions
from .layout import sentence
from .saying import says


class PlatebridgePreferences(bpy.types.AddonPreferences):
    """What is an artist's and not a shot's."""

    bl_idname = __package__

    command: StringProperty(
        name="Command",
        subtype="FILE_PATH",
        description="The `platebridge` command on this machine. Empty: the one on the search path",
    )
    connection: StringProperty(
        name="Connection file",
        subtype="FILE_PATH",
        description="The server's connection file. Empty: the server on this machine. A scene may name its own",
    )
    endpoint: StringProperty(name="Address", default="tcp://", description="Another machine's server, like tcp://192.168.1.20:47800")
    server_key: StringProperty(name="Server's key", description="The server_key in that server's connection file, 40 characters")

    def draw(self, context):
        column = self.layout.column()
        absent = dependencies.missing()
        if absent:
            sentence(column, absent, "ERROR", 90)
            return
        draw_server(column, wide=90)
        column.separator()
        column.prop(self, "command")
        column.prop(self, "connection")
        box = column.box().column()
        box.label(text="A server on another machine")
        box.prop(self, "endpoint")
        box.prop(self, "server_key")
        box.operator("platebridge.use_other_server", icon="LINKED")


def draw_server(column, wide=42):
    """The server's state and what can be done about it; in the preferences and in the sidebar."""
    row = column.row(align=True)
    row.operator("platebridge.ask_server", icon="FILE_REFRESH")
    if asking.asking:
        sentence(column, "Asking the server", "SORTTIME", wide)
        return
    if asking.answer is None or not asking.answer.trouble:
        for text in facts():
            sentence(column, text, "DOT", wide)
        if asking.answer is not None:
            if server.found_command():
                row.operator("platebridge.stop_server", icon="SNAP_FACE")
            return
    else:
        sentence(column, asking.answer.trouble, "ERROR", wide)
    if server.found_command():
        row.operator("platebridge.start_server", icon="PLAY")
    else:
        sentence(column, "No platebridge command was found here. Install the server, or start it in a terminal:", "INFO", wide)
        row = column.row(align=True)
        row.label(text=server.LINE, icon="CONSOLE")
        row.operator("platebridge.copy_line", text="", icon="COPYDOWN")


def facts():
    """What the server said of itself, in lines for the eye."""
    if asking.answer is None or asking.answer.trouble:
        return []
    told, cards = asking.answer.facts, asking.answer.cards
    lines = [
        "Platebridge %s on %s, %.0f ms away" % (told["server"], told["device"] or "its own choice", asking.answer.seconds * 1000),
        "Memory: %.1f of %.1f GB free. Disk: %.0f GB free" % (told["memory_free"] / 1e9, told["memory"] / 1e9, told["disk_free"] / 1e9),
        "Models: %s" % ", ".join(
            "%s (%s)" % (card.get("name"), card.get("licence", "licence unknown")) for card in cards if not asking.absent(card)
        ),
    ]
    if told["waiting"]:
        lines.append("%d takes under way or in line" % told["waiting"])
    return lines


class PLATEBRIDGE_OT_ask_server(bpy.types.Operator):
    """Ask the server for its version, device, memory, disk and models"""

    bl_idname = "platebridge.ask_server"
    bl_label = "Test Server"
    bl_options = {"REGISTER"}

    @says
    def execute(self, context):
        asking.ask(server.client_of(versions.editing_scene(context)))
        runner.keep_ticking()
        return {"FINISHED"}


class PLATEBRIDGE_OT_start_server(bpy.types.Operator):
    """Start the server on this machine. It goes on when Blender is closed, and so do the takes that it is making"""

    bl_idname = "platebridge.start_server"
    bl_label = "Start Server"
    bl_options = {"REGISTER"}

    @says
    def execute(self, context):
        from platebridge.errors import ConnectionFailed

        command = server.found_command()
        if not command:
            raise ConnectionFailed("No platebridge command was found on this machine.", "Choose it in the preferences.")
        log = server.start(command)
        asking.forget()
        runner.keep_trying(_ask_if_up, 60.0)
        self.report({"INFO"}, "The server starts; its log is %s" % log)
        return {"FINISHED"}


class PLATEBRIDGE_OT_stop_server(bpy.types.Operator):
    """Stop the server on this machine. What it is making goes on when it is started again"""

    bl_idname = "platebridge.stop_server"
    bl_label = "Stop Server"
    bl_options = {"REGISTER"}

    def invoke(self, context, event):
        told = "What it is making goes on when it is started again."
        return context.window_manager.invoke_confirm(self, event, title="Stop Server?", message=told, confirm_text="Stop Server")

    @says
    def execute(self, context):
        from platebridge.errors import ConnectionFailed

        command = server.found_command()
        if not command:
            raise ConnectionFailed("No platebridge command was found on this machine.", "Choose it in the preferences.")
        process = server.stop(command, server.connection_file(versions.editing_scene(context)))
        if not bpy.app.background:
            runner.keep_trying(lambda: process.poll() is not None and _has_stopped(process), 60.0)
            return {"FINISHED"}
        process.wait()
        _has_stopped(process)
        return {"CANCELLED"} if process.returncode else {"FINISHED"}


def _has_stopped(process):
    """What the command that stopped the server, or could not, leaves to be seen."""
    _, trouble = process.communicate()
    if process.returncode:
        runner.trouble = trouble.strip()
    else:
        asking.forget()
    return True


def _ask_if_up():
    """Whether the server has answered. Until it does it is asked again: a connection file may be what a server that died has left."""
    from platebridge.errors import ConnectionFailed

    if asking.answer is not None and not asking.answer.trouble:
        return True
    with contextlib.suppress(ConnectionFailed):  # there is none yet
        asking.ask(server.client_of(versions.editing_scene(bpy.context)))
    return False


class PLATEBRIDGE_OT_copy_line(bpy.types.Operator):
    """Copy the line that starts a server, to type into a terminal"""

    bl_idname = "platebridge.copy_line"
    bl_label = "Copy Line"
    bl_options = {"REGISTER"}

    def execute(self, context):
        context.window_manager.clipboard = server.LINE
        return {"FINISHED"}


class PLATEBRIDGE_OT_use_other_server(bpy.types.Operator):
    """Keep a connection to this address with a new key of this machine's own, and use it from now on"""

    bl_idname = "platebridge.use_other_server"
    bl_label = "Use This Server"
    bl_options = {"REGISTER"}

    @says
    def execute(self, context):
        from platebridge.connection import private_folder, remote_connection, write_connection
        from platebridge.errors import ConnectionFailed

        held = server.preferences()
        if not held.endpoint.startswith("tcp://") or ":" not in held.endpoint[6:] or len(held.server_key.strip()) != 40:
            raise ConnectionFailed(
                "An address like tcp://192.168.1.20:47800 and the server's key of 40 characters are needed.",
                "The address is that machine's own, with the server's port; the key stands in that server's connection file.",
            )
        made = remote_connection(held.endpoint.strip(), held.server_key.strip())
        path = write_connection(made, private_folder(server.own_folder() / "keys") / "other_server.json")
        held.connection = str(path)
        context.window_manager.clipboard = made.client_public
        self.report({"INFO"}, "This machine's key is in the clipboard: add it to the list that server was started with (--client-keys)")
        return {"FINISHED"}


CLASSES = (
    PlatebridgePreferences,
    PLATEBRIDGE_OT_ask_server,
    PLATEBRIDGE_OT_start_server,
    PLATEBRIDGE_OT_stop_server,
    PLATEBRIDGE_OT_copy_line,
    PLATEBRIDGE_OT_use_other_server,
)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
