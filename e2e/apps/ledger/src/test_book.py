import os
import tempfile
import unittest

from book import Book


class BookTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "pages")

    def tearDown(self):
        self.folder.cleanup()

    def test_remembers_after_a_restart(self):
        book = Book(self.path)
        self.assertEqual([book.answer(x) for x in ("ADD anna 5", "ADD anna -2", "SUM anna", "MIGRATE 2")], ["+1 entries", "+2 entries", "+3", "+schema 2"])
        book.file.close()
        again = Book(self.path)
        self.assertEqual([again.answer(x) for x in ("SUM anna", "MIGRATE 2", "SUM nobody")], ["+3", "+schema 2", "+0"])
        again.file.close()

    def test_refuses_garbage_and_a_second_writer(self):
        book = Book(self.path)
        for line in ("", "ADD", "ADD a b", "ADD ../x 1", "SUM", "MIGRATE x", "\ufffd"):
            self.assertTrue(book.answer(line).startswith("-"))
        with self.assertRaises(BlockingIOError):
            Book(self.path)
        book.file.close()


if __name__ == "__main__":
    unittest.main()
