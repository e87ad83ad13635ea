"""Programs that end when we do, however that comes: a killed benchmark leaves no server behind."""


def ends_with_us(*command: str) -> tuple[str, ...]:
    """The command, to be started by the main thread: the kernel kills it when that has ended.

    By `setpriv` of util-linux (prctl(2), PR_SET_PDEATHSIG), which then is that program: it has
    the process id that is waited for.
    """
    return ("setpriv", "--pdeathsig", "KILL", "--", *command)
