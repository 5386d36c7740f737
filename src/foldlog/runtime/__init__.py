"""Where functions run: today one worker in the app's own process."""
