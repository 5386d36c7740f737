"""The command line, `foldlog[cli]`: click and rich are imported here and nowhere else.

main      the door            program   the commands together, errors to exit codes
settings  the environment     target    APP or URL to an app and a store
advice    errors to exit codes and to what can be done
making    new (from template/, a project that our linters read)
output    tables and JSON     running   run, check          sending   send
events    events              views     views               letters   dead-letters
transfer  export, import      importing lines to commits, resumable
forking   fork                tracing   why                 doctor   doctor
coldstart an app in fresh interpreters
"""
