<?php
// A page, and what a bug might do: call whoever the client names.
if (isset($_GET["port"])) {
    $said = @file_get_contents("http://127.0.0.1:" . $_GET["port"] . "/");
    echo $said === false ? "refused: " . error_get_last()["message"] . "\n" : $said;
} else {
    echo "answered\n";
}
