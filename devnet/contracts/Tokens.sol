// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// Tokens for tests. `init` instead of a constructor, so that a token can be placed at any address.
contract TestToken {
    string public name;
    string public symbol;
    uint8 public decimals;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    function init(string calldata symbol_, uint8 decimals_) external {
        name = symbol_;
        symbol = symbol_;
        decimals = decimals_;
    }

    function mint(address to, uint256 value) external {
        totalSupply += value;
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        if (allowance[from][msg.sender] != type(uint256).max) allowance[from][msg.sender] -= value;
        _move(from, to, value);
        return true;
    }

    function _move(address from, address to, uint256 value) internal virtual {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

/// Keeps one percent of every transfer.
contract FeeToken is TestToken {
    function _move(address from, address to, uint256 value) internal override {
        uint256 fee = value / 100;
        balanceOf[from] -= value;
        balanceOf[to] += value - fee;
        balanceOf[address(0xFEE)] += fee;
        emit Transfer(from, to, value - fee);
        emit Transfer(from, address(0xFEE), fee);
    }
}

/// Says yes and moves nothing.
contract SilentToken is TestToken {
    function _move(address, address, uint256) internal override {}
}

/// Answers nothing at all, as the first stablecoins do.
contract NoReturnToken {
    string public name;
    string public symbol;
    uint8 public decimals;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);

    function init(string calldata symbol_, uint8 decimals_) external {
        name = symbol_;
        symbol = symbol_;
        decimals = decimals_;
    }

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function approve(address spender, uint256 value) external {
        allowance[msg.sender][spender] = value;
    }

    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external {
        if (allowance[from][msg.sender] != type(uint256).max) allowance[from][msg.sender] -= value;
        _move(from, to, value);
    }

    function _move(address from, address to, uint256 value) private {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

interface IProxy {
    function transferFromWithReferenceAndFee(
        address token, address to, uint256 amount, bytes calldata ref, uint256 feeAmount, address feeAddress
    ) external;
}

/// Pays several references in one transaction, with tokens it mints for itself.
contract MultiPay {
    struct Payment {
        address token;
        address to;
        uint256 amount;
        bytes ref;
        uint256 feeAmount;
        address feeAddress;
    }

    function pay(address proxy, Payment[] calldata payments) external {
        for (uint256 i = 0; i < payments.length; i++) {
            Payment calldata p = payments[i];
            TestToken(p.token).mint(address(this), p.amount + p.feeAmount);
            // Without reading an answer: some tokens give none.
            (bool approved,) = p.token.call(abi.encodeCall(TestToken.approve, (proxy, p.amount + p.feeAmount)));
            require(approved, "the token refuses an allowance");
            IProxy(proxy).transferFromWithReferenceAndFee(p.token, p.to, p.amount, p.ref, p.feeAmount, p.feeAddress);
        }
    }
}

/// Prints logs that cost nothing else, for benchmarks: as a proxy (placed at its address) and as a token.
contract LogPrinter {
    event TransferWithReferenceAndFee(
        address tokenAddress, address to, uint256 amount, bytes indexed paymentReference, uint256 feeAmount, address feeAddress
    );
    event Transfer(address indexed from, address indexed to, uint256 value);

    function payments(address token, address to, uint256 amount, bytes8[] calldata refs) external {
        for (uint256 i = 0; i < refs.length; i++) {
            emit TransferWithReferenceAndFee(token, to, amount, abi.encodePacked(refs[i]), 0, address(0));
        }
    }

    function transfers(uint160 first, uint256 count) external {
        for (uint256 i = 0; i < count; i++) {
            emit Transfer(msg.sender, address(first + uint160(i)), 1);
        }
    }
}

/// What somebody does who knows an address and wishes it no good: as cheap as it gets, in one transaction.
contract Stranger {
    event Transfer(address indexed from, address indexed to, uint256 value);

    /// One unit of a real token, many times.
    function dust(address token, address to, uint256 count) external {
        for (uint256 i = 0; i < count; i++) {
            TestToken(token).transfer(to, 1);
        }
    }

    /// Logs of a token that is none.
    function worthless(address to, uint256 count) external {
        for (uint256 i = 0; i < count; i++) {
            emit Transfer(msg.sender, to, 1);
        }
    }
}

/// The two functions of Multicall3 that reading balances needs, with its interface.
contract Multicall3 {
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }

    struct Result {
        bool success;
        bytes returnData;
    }

    function aggregate3(Call3[] calldata calls) external payable returns (Result[] memory results) {
        results = new Result[](calls.length);
        for (uint256 i = 0; i < calls.length; i++) {
            (bool ok, bytes memory data) = calls[i].target.call(calls[i].callData);
            require(ok || calls[i].allowFailure, "Multicall3: call failed");
            results[i] = Result(ok, data);
        }
    }

    function getEthBalance(address account) external view returns (uint256) {
        return account.balance;
    }
}
