"""The list of parts, on a store: `foldlog run project_name.app` runs it."""

from foldlog import App
from project_name.board import board
from project_name.notice import notice
from project_name.task import task

parts = [task, board, notice]
app = App("sqlite:project_name.db", parts)
