"""The server's process of the demo; ``adserver demo`` starts it."""

from adserver.demo.serving import main

if __name__ == "__main__":
    main()
